"""Bracketed trees: constituency parsing."""

import functools

from t2t_multimodel.data_gen.readers.lines import bad_sample
from t2t_multimodel.data_gen.readers.trees import linearised, read_trees, symbols
from t2t_multimodel.modalities import Text
from t2t_multimodel.problems.file_problem import FileProblem
from t2t_multimodel.problems.splits_of_train import shared_out


class BracketedTrees(FileProblem):
    """Words to tree from `<directory>/{train,dev,test}.mrg`: `(S (NP (DT the) (NN dog)) (VP (VBD ran)))`.

        @register_problem
        class RecipeTrees(BracketedTrees):
            \"\"\"Constituents of cooking instructions. Own annotation, 900 trees. Metric: bracket F1, expect 70.\"\"\"
            directory = "recipes"
            words_in_tree = False

    A tree is one line, or goes on over lines that begin with a blank, as in the Penn Treebank's own files.

    The input is the words, the target is the tree on one line. As is usual in parsing, traces (`-NONE-`) are removed, a
    root without a label is unwrapped, and function tags are removed (`NP-SBJ` becomes `NP`) unless
    `keep_function_tags`.
    """

    words_in_tree = True  # False: the leaves are tags, (S (NP DT NN) (VP VBZ)): shorter, no words to copy
    keep_function_tags = False
    language = "English"  # of the words, for reports
    metrics = ("bracket_f1", "exact_match")
    decode_hparams = {"beam_size": 4}
    target_grammar = "tree"

    _form = "train.mrg, dev.mrg, test.mrg, one bracketed tree per line"
    _split_suffix = ".mrg"

    @functools.cached_property
    def inputs(self):
        return Text(self.language)

    @functools.cached_property
    def targets(self):
        return Text("bracketed tree", symbols=symbols(self.words_in_tree, self.keep_function_tags))

    @shared_out
    def read_samples(self, split):
        path = self.split_path(split)
        for number, tree in read_trees(path, self.keep_function_tags, bad_sample, self.max_line_length):
            try:
                target = None if isinstance(tree, dict) else linearised(tree, self.words_in_tree)
            except ValueError as error:
                tree = bad_sample(f"{path}:{number}: {error}")
            if isinstance(tree, dict):
                yield tree
                continue
            yield {"inputs": " ".join(tree.leaves()), "targets": target, "key": f"{path.name}:{number}"}
