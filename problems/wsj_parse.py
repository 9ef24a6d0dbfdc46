"""Penn Treebank: constituency parsing of Wall Street Journal sentences, with the standard sections.

Source: Treebank-3 of the Linguistic Data Consortium, LDC99T42, the folder of `.mrg` files (tags and brackets merged).
Licence: the consortium's, for members or for a fee; not free. The stand-in that is free is `gum_parse`.
Size: 25 sections, some tens of MB; 39,832 trees to train (sections 02 to 21), 1,700 dev (22), 2,416 test (23).
How to get it: from the consortium, under its licence; put the release, or its folder `parsed/mrg/wsj`, into
`penn_treebank/` under the manual folder.
Command: t2t-datagen --problem=wsj_parse --data_dir=data --manual_dir=corpora
Metric: bracket F1 after EVALB with COLLINS.prm. Expect about 88 to 90 from attention models trained on these sections
alone (Vinyals et al. 2015, arXiv 1412.7449: 88.3 single, 90.5 ensemble).
"""

import re

from t2t_multimodel.data_gen.readers.corpora import Corpus
from t2t_multimodel.data_gen.readers.folders import files_below
from t2t_multimodel.errors import UserError
from t2t_multimodel.problems.treebank import Treebank
from t2t_multimodel.registry import register_problem

PENN_TREEBANK = Corpus(
    folder_name="penn_treebank",
    title="the Penn Treebank (Treebank-3, LDC99T42)",
    obtain="from the Linguistic Data Consortium, under its licence",
    layout="the release, or its folder parsed/mrg/wsj with the sections 00 to 24",
    stand_in="gum_parse",
)


@register_problem
class WsjParse(Treebank):
    """English sentences (Wall Street Journal, Penn Treebank) into trees with parts of speech as leaves.

    "(S (NP DT NN )NP (VP VBZ )VP . )S" for "The dog barks .". Sections 02 to 21 train, 22 dev, 23 test; read from
    `parsed/mrg/wsj/NN/*.mrg`, `wsj/NN/*.mrg` or `NN/*.mrg`, in whatever case.
    """

    corpus = PENN_TREEBANK
    train_sections = tuple(range(2, 22))
    dev_sections = (22,)
    test_sections = (23,)

    def files(self, split):
        sections = self._sections()
        wanted = getattr(self, f"{split}_sections")
        missing = [number for number in wanted if number not in sections]
        if missing:
            raise self.corpus.missing(self.corpus.folder / "parsed" / "mrg" / "wsj" / f"{missing[0]:02d}")
        return [path for number in wanted for path in sections[number]]

    def _sections(self):
        """{section: its files, sorted}, from the folder of the corpus that has them."""
        folders = {}
        for path in files_below(self.corpus.require(), ".mrg"):
            inside = path.parent.relative_to(self.corpus.folder).parts
            if inside and re.fullmatch(r"\d\d", inside[-1]) and (len(inside) == 1 or inside[-2].lower() == "wsj"):
                folders.setdefault(path.parent.parent, {}).setdefault(int(inside[-1]), []).append(path)
        merged = {folder: found for folder, found in folders.items() if "mrg" in str(folder).lower().split("/")}
        folders = merged or folders
        if len(folders) > 1:
            places = ", ".join(map(str, sorted(folders)))
            raise UserError(f"problem {self.name}: the sections are there more than once, in {places}; leave one")
        return next(iter(folders.values()), {})


@register_problem
class WsjParseWords(WsjParse):
    """wsj_parse with the words in the tree: "(S (NP (DT The )DT (NN dog )NN )NP …".

    The same sentences, splits and licence. The targets are longer, and the decoder must copy the words.
    """

    words_in_tree = True
    command = "to_tree_with_words"
