"""WMT'14: news translation between English and German, and English and French, from local files or through TFDS.

Source: the news translation task of the Ninth Workshop on Statistical Machine Translation (Bojar et al. 2014); dev is
newstest2013 (3,000 sentences), test newstest2014 (3,003). Licence: for research; Europarl is free of copyright claims
by its makers, Common Crawl's and the news texts' rights stay with their owners.
"""

import functools

from t2t_multimodel.data_gen import extract
from t2t_multimodel.data_gen.readers import corpora, tfds_data
from t2t_multimodel.data_gen.readers.corpora import Corpus
from t2t_multimodel.data_gen.readers.parallel import find_sources
from t2t_multimodel.data_gen.readers.sgm import resolved
from t2t_multimodel.errors import UserError
from t2t_multimodel.mixture import Mixture
from t2t_multimodel.problems.parallel_text import ParallelText
from t2t_multimodel.registry import register_mixture, register_problem

TRAINING_TEXTS = ("train", "europarl", "commoncrawl", "news-commentary", "undoc", "giga-fren")
OTHER_TESTS = ("newstest", "news-test", "newsdev", "newsdiscuss", "newssyscomb", "dev", "test", "valid")
_LANGUAGES = {"en": "English", "de": "German", "fr": "French"}
_TFDS_SPLITS = {"train": "train", "dev": "validation", "test": "test"}

_LAYOUT = (
    "texts to train on as train.en beside train.{0}, or the official europarl-v7.{0}-en.en and so on, plain or .gz, "
    "or the official archives; newstest2013 and newstest2014 as .en beside .{0}, or as -src.en.sgm beside -ref.{0}.sgm"
)


def _corpus(language):
    return Corpus(
        f"wmt14_{language}-en",
        f"WMT'14 {_LANGUAGES[language]}-English",
        "from the page of the WMT 2014 translation task, since TFDS can't download it from here,",
        _LAYOUT.format(language),
        f"tiny_en{language}",
    )


class Wmt(ParallelText):
    """Base class. Reads the folder of the corpus if it exists; else the data that TFDS has prepared or can download."""

    splits = ("train", "dev", "test")
    metrics = ("bleu", "exact_match")
    vocabulary_size = 8192
    skip_empty = True  # Europarl has some thousand lines with an empty translation
    corpus = None
    tfds_names = ()  # the first prepared one is used; else the first is downloaded

    _names = {"train": TRAINING_TEXTS, "dev": ("newstest2013",), "test": ("newstest2014",)}

    @functools.cached_property
    def languages(self):
        return tuple(_LANGUAGES[side] for side in self.sides)

    @property
    def folder(self):
        return self.corpus.folder

    def pairs(self, split):
        if self._is_local:
            yield from super().pairs(split)
            return
        made = tfds_data.prepared(self._tfds_name, self.corpus.missing())
        for key, texts in tfds_data.read_values(made, _TFDS_SPLITS[split], self.sides):
            file, _, number = key.rpartition("__")
            inputs, targets = (text.decode("utf-8", "surrogateescape").strip() for text in texts)
            if split != "train":  # TFDS does not resolve the entities of the .sgm files
                inputs, targets = resolved(inputs), resolved(targets)
            yield file, int(number), inputs, targets, lambda number, second, file=file: f"{file}, record {number}"

    def prepare(self, sample):
        sample = super().prepare(sample)
        return {**sample, "inputs": sample["inputs"].strip(), "targets": sample["targets"].strip()}

    def source_files(self):
        if self._is_local:
            return super().source_files()
        made = tfds_data.prepared(self._tfds_name, self.corpus.missing())
        return tfds_data.files_of(made, _TFDS_SPLITS.values())

    @property
    def _is_local(self):
        return self.folder.is_dir() and any(self.folder.iterdir())

    @property
    def _tfds_name(self):
        return next(filter(tfds_data.is_prepared, self.tfds_names), self.tfds_names[0])

    def _check_sources(self, by_split):
        for split, what in {"train": "text to train on", "dev": "newstest2013", "test": "newstest2014"}.items():
            if not by_split[split]:
                raise corpora.MissingCorpus(
                    f"{self.folder} has no {what} in both {' and '.join(self.languages)}; "
                    f"expected there: {self.corpus.layout}"
                )

    def _find(self):
        found, alone = find_sources(self.folder, *self.sides)
        for archive in extract.archives_in(self.folder):
            inside, alone_inside = find_sources(extract.unpacked(archive), *self.sides, called=archive.name)
            found, alone = found + inside, alone + alone_inside
        for source in found:
            if not self._split_of(source.stem) and not source.stem.startswith(OTHER_TESTS):
                raise UserError(
                    f"{source.paths[0]}: is this to train on? Then begin its name with train. (known by their names "
                    f"are {', '.join(TRAINING_TEXTS[1:])}, newstest2013 and newstest2014); else move it elsewhere"
                )
        return found, alone


@register_problem
class WmtEnde(Wmt):
    """WMT'14 English to German: Europarl, Common Crawl and news commentary, 4.5 million pairs; tested on newstest2014.

    Size: four archives of 1.7 GB.
    Obtain: nothing to do where there is a connection: TFDS downloads `wmt14_translate/de-en` by its recorded checksums.
    Or put the texts, or the official archives, into MANUAL_DIR/wmt14_de-en; or a copy of what TFDS prepared, also
    `wmt_t2t_translate/de-en` (the set that Tensor2Tensor used), into DOWNLOAD_DIR. That folder comes first.
    Command: t2t-datagen --problem=wmt_ende --data_dir=data.
    Metric: BLEU. Expect 21.2 of the paper's model trained on all eight corpora.
    """

    corpus = _corpus("de")
    tfds_names = ("wmt14_translate/de-en", "wmt_t2t_translate/de-en")
    sides = ("en", "de")
    command = "to_german"


@register_problem
class WmtEnfr(Wmt):
    """WMT'14 English to French: Europarl, UN, Common Crawl, news commentary, Gigaword; 40.8 million pairs.

    Size: six archives of 6.7 GB. Licence: the UN and Gigaword texts too are for research.
    Obtain: TFDS downloads `wmt14_translate/fr-en` where there is a connection; while it prepares, it holds the longest
    of the texts in memory. Texts or archives in MANUAL_DIR/wmt14_fr-en are read line by line.
    Command: t2t-datagen --problem=wmt_enfr --data_dir=data.
    Metric: BLEU. Expect 30.5 of the paper's model trained on all eight corpora.
    """

    corpus = _corpus("fr")
    tfds_names = ("wmt14_translate/fr-en",)
    sides = ("en", "fr")
    command = "to_french"


@register_problem
class WmtDeen(WmtEnde):
    """WMT'14 German to English: the reversed pairs of wmt_ende. BLEU; the paper has no score."""

    sides = ("de", "en")
    command = "to_english"


@register_problem
class WmtFren(WmtEnfr):
    """WMT'14 French to English: the reversed pairs of wmt_enfr. BLEU; the paper has no score."""

    sides = ("fr", "en")
    command = "to_english"


register_mixture(
    Mixture(
        "translate4",
        "the paper's four translation tasks: WMT'14 English with German and French, both ways",
        ("wmt_ende", "wmt_deen", "wmt_enfr", "wmt_fren"),
    )
)
