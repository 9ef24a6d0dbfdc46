"""One model that learns many tasks at once: text, pictures, sound, trees; and the framework to add yours."""

from t2t_multimodel.api import evaluate, generate_data, train
from t2t_multimodel.predictor import load

__all__ = ["evaluate", "generate_data", "load", "train"]
