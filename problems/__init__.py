"""All problems of the package, and base classes for common file formats."""

from t2t_multimodel.problems import cifar10 as cifar10
from t2t_multimodel.problems import coco_caption as coco_caption
from t2t_multimodel.problems import gum_parse as gum_parse
from t2t_multimodel.problems import imagenet as imagenet
from t2t_multimodel.problems import librispeech as librispeech
from t2t_multimodel.problems import mixtures as mixtures  # paper8, open8
from t2t_multimodel.problems import tiny8 as tiny8  # registers the embedded problems
from t2t_multimodel.problems import tiny_question as tiny_question  # registers an embedded problem of two inputs
from t2t_multimodel.problems import tiny_scenes as tiny_scenes  # tiny_measure, tiny_tags
from t2t_multimodel.problems import wmt as wmt  # registers the paper's translation tasks
from t2t_multimodel.problems import wsj_parse as wsj_parse
from t2t_multimodel.problems import wsj_speech as wsj_speech
from t2t_multimodel.problems.bracketed_trees import BracketedTrees
from t2t_multimodel.problems.captioned_images import CaptionedImages
from t2t_multimodel.problems.labelled_images import LabelledImages
from t2t_multimodel.problems.parallel_text import ParallelText
from t2t_multimodel.problems.sentence_pairs import SentencePairs
from t2t_multimodel.problems.table import Table
from t2t_multimodel.problems.tfds_problem import TfdsProblem
from t2t_multimodel.problems.transcribed_speech import TranscribedSpeech

__all__ = [
    "BracketedTrees",
    "CaptionedImages",
    "LabelledImages",
    "ParallelText",
    "SentencePairs",
    "Table",
    "TfdsProblem",
    "TranscribedSpeech",
]
