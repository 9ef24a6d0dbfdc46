"""Base class of problems over treebanks: original `.mrg` or `.ptb` files with trees over several lines."""

import functools

from t2t_multimodel.data_gen.readers.treebanks import read_treebank_file
from t2t_multimodel.data_gen.readers.trees import linearised, parse_tree, symbols
from t2t_multimodel.errors import MustDefine
from t2t_multimodel.modalities import Text
from t2t_multimodel.problem import Problem

ROOTS = ("TOP", "ROOT", "S1")  # brackets around every tree, which EVALB does not count


class Treebank(Problem):
    """Words to tree. A subclass defines `corpus` and the files of each split.

    As is usual in parsing, these are removed: traces (`-NONE-`) and the brackets that become empty; function tags and
    indices (`NP-SBJ-1` and `NP=2` become `NP`, `-LRB-` stays); the outermost bracket without a label or with TOP, ROOT
    or S1, unless it holds several trees, which are then below TOP. The input is the words of the treebank, separated by
    spaces.
    """

    corpus = None  # a `readers.corpora.Corpus`
    words_in_tree = False  # True: each leaf is "(NN dog )NN"; False: the leaves are tags: shorter, no words to copy
    keep_function_tags = False
    command = "to_tree"
    metrics = ("bracket_f1", "exact_match")
    decode_hparams = {"beam_size": 4}
    target_grammar = "tree"
    inputs = Text("English")

    @functools.cached_property
    def targets(self):
        return Text("bracketed tree", symbols=symbols(self.words_in_tree, self.keep_function_tags))

    def files(self, split):
        """The `Path`s of a split's files, in order; raises `MissingCorpus` if there are none."""
        raise MustDefine(self, "files(split)")

    def samples(self, split):
        for path in self.files(split):
            for tree in read_treebank_file(path):
                # "targets" is needed for `<name>_rev`, which swaps both sides before and after `prepare`.
                yield {"inputs": tree, "targets": None, "key": f"{path.parent.name}/{path.name}:{tree.line}"}

    def prepare(self, sample):
        raw = sample["inputs"]
        if raw.fault:
            raise ValueError(f"{raw.place}: {raw.fault}")
        try:
            tree = parse_tree(raw.text, self.keep_function_tags, root_label=ROOTS[0])
            while tree.label() in ROOTS and len(tree) == 1 and not isinstance(tree[0], str):
                tree = tree[0]
            target = linearised(tree, self.words_in_tree)
        except ValueError as error:
            raise ValueError(f"{raw.place}: {error}") from None
        return {**sample, "inputs": " ".join(tree.leaves()), "targets": target}

    def source_files(self):
        return [str(path) for split in self.splits for path in self.files(split)]
