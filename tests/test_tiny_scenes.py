"""Numbers and sets of labels as targets: the embedded problems are sound, and are learned beside tiny8."""

import pytest
from joint_learning import beyond_trivial, learn

from t2t_multimodel import registry
from t2t_multimodel.testing import check_problem


@pytest.mark.parametrize("name", ["tiny_measure", "tiny_tags"])
def test_they_are_sound(name):
    problem = registry.problem(name)
    problem.train_examples, problem.dev_examples, problem.test_examples = 60, 20, 20
    check_problem(problem, prepared=10, worker=False)


@pytest.mark.slow
@pytest.mark.parametrize("name, metric, margin", [("tiny_measure", "r2", 0.4), ("tiny_tags", "average_precision", 0.2)])
def test_they_learn_beside_tiny8(name, metric, margin, tmp_path):
    problem = registry.problem(name)
    problem.train_examples, problem.dev_examples, problem.test_examples = 600, 100, 10
    scores, trivial = learn(problem, tmp_path, steps=300)
    beyond_trivial(scores, trivial, metric, margin)
