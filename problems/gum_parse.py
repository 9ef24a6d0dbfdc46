"""GUM: English of sixteen kinds of web text and speech into constituents; the free stand-in for `wsj_parse`.

Source: the Georgetown University Multilayer corpus, a repository on GitHub (amir-zeldes/gum) with numbered releases.
Licence: annotations CC BY 4.0; the texts CC BY, BY-SA or BY-NC-SA, each as the release's licence file says.
Why this one, of the free treebanks: it is in the Penn Treebank's brackets and labels, one file a document; it grows by
releases that keep their names and form; it brings its own train, dev and test lists (`splits.md`); and its licences
allow passing it on. The five per cent of the Penn Treebank that NLTK distributes are smaller (3,914 sentences), without
splits, and for non-commercial use; the English Web Treebank and OntoNotes belong to the Linguistic Data Consortium.
What it is not: gold. Tags and dependencies are corrected by hand, but the constituents are a parser's output from gold
tags, so the F1 here is agreement with that parser, and no figure to set beside one on the Penn Treebank.
Size: the release of May 2025 has 255 documents, 7 MB; read here are 10,224 trees to train, 1,575 dev, 1,464 test. Its
Reddit documents are left out, in which underscores stand for the words, until its own get_text.py has filled them in.
How to get it: clone or download a release, put it into `gum/` under the manual folder (splits.md and const/ suffice).
Command: t2t-datagen --problem=gum_parse --data_dir=data --manual_dir=corpora
Metric: bracket F1 after EVALB with COLLINS.prm; not measured yet.
"""

import re

from t2t_multimodel.data_gen.readers.corpora import Corpus
from t2t_multimodel.data_gen.readers.lines import read_lines
from t2t_multimodel.data_gen.readers.trees import BLANKS
from t2t_multimodel.errors import UserError
from t2t_multimodel.problems.treebank import Treebank
from t2t_multimodel.registry import register_problem
from t2t_multimodel.regular_files import require_regular

GUM = Corpus(
    folder_name="gum",
    title="GUM, the Georgetown University Multilayer corpus",
    obtain="from its repository on GitHub, amir-zeldes/gum, free",
    layout="a release: splits.md and the folder const with its .ptb files",
)


@register_problem
class GumParse(Treebank):
    """English sentences (GUM: web texts and speech of sixteen kinds) into trees with parts of speech as leaves.

    Train, dev and test are the lists of the release's `splits.md`; its `test2` (kinds that train lacks) is not read.
    """

    corpus = GUM

    def files(self, split):
        release = self._release()
        found = []
        for number, name in _documents(release / "splits.md", split):
            path = release / "const" / f"{name}.ptb"
            if not path.is_file():
                raise UserError(f"{release / 'splits.md'}:{number}: names {name}, but there is no {path}")
            if not _is_masked(path):
                found.append(path)
        return found

    def source_files(self):
        return [str(self._release() / "splits.md"), *super().source_files()]

    def _release(self):
        """The folder with splits.md and const/: the corpus's own, or the one inside it that an archive unpacks to."""
        folder = self.corpus.require()
        candidates = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
        for candidate in candidates:
            if (candidate / "splits.md").is_file() and (candidate / "const").is_dir():
                return candidate
        raise self.corpus.missing(folder / "splits.md")


def _documents(path, split):
    """Yields `(line number, document)` of a split: below the heading "## dev" lines such as "  * GUM_bio_byron"."""
    heading, headings = None, []
    for number, line in read_lines(path):
        if line.startswith("## "):
            heading = line[3:].strip()
            headings.append(heading)
        elif heading == split and (item := re.fullmatch(r"\s*\*\s+(\w+)\s*", line)):
            yield number, item[1]
    if split not in headings:
        raise UserError(f"{path}: no heading '## {split}'; it has {', '.join(headings) or 'no headings'}")


def _is_masked(path):
    """Whether underscores stand for all words of a document."""
    require_regular(path)
    words = re.findall(rf"[{BLANKS}]([^{BLANKS}()]+)\)", path.read_text(encoding="utf-8", errors="replace"))
    return bool(words) and not any(word.strip("_") for word in words)
