"""Time series and graphs, written outside of the package: they use nothing private, keep the contract, and learn."""

import re

import numpy as np
import pytest
from conftest import REPOSITORY
from joint_learning import beyond_trivial, learn

from t2t_multimodel import registry
from t2t_multimodel.cli.user_code import load_user_code
from t2t_multimodel.testing import check_modality, check_problem

FOLDER = REPOSITORY / "examples" / "more_modalities"
NAN = np.nan


@pytest.fixture(scope="module", autouse=True)
def theirs():
    """What the folder registers, as with `--t2t_usr_dir`; forgotten afterwards."""
    registry.load()
    before = [each.snapshot() for each in registry.ALL]
    load_user_code(str(FOLDER))
    yield
    for each, snapshot in zip(registry.ALL, before):
        each.restore(snapshot)


@pytest.mark.parametrize("file", ["time_series.py", "graph.py"])
def test_a_modality_is_one_file_that_uses_nothing_private(file):
    code = (FOLDER / file).read_text(encoding="utf-8")
    assert len(code.splitlines()) <= 120
    # Attributes and imports that begin with one underscore; `__init__` and the like are everybody's.
    assert not re.findall(r"(?<!self)\._[a-z]\w*|import _\w+", code)


@pytest.mark.slow
def test_time_series_keep_the_contract():
    import time_series

    samples = [np.float32([[1, 2], [NAN, 0], [3, 1]]), np.float32([[0, NAN]]), np.ones((7, 2), np.float32)]
    junk = [np.ones((2, 3), np.float32), np.zeros((0, 2), np.float32), np.full((2, 2), np.inf, np.float32)]
    check_modality(time_series.TimeSeries(("a", "b"), 0.5, 2.0), samples, junk=junk)
    forecasts = [samples[0], samples[0] - 1, np.full((3, 2), 2, np.float32)]
    check_modality(time_series.Forecast(("a", "b"), 0.5, 2.0, horizon=3), forecasts, junk=samples[1:])


def test_time_series_from_a_file(tmp_path):
    import time_series

    (tmp_path / "series.csv").write_text("1,2\n,3.5\n")
    array = time_series.TimeSeries(("a", "b")).from_line(str(tmp_path / "series.csv"))
    np.testing.assert_array_equal(array, np.float32([[1, 2], [NAN, 3.5]]))


@pytest.mark.slow
def test_graphs_keep_the_contract():
    import graph

    def made(nodes, edges):
        return {"nodes": np.float32(nodes), "edges": np.array(edges, np.int32).reshape(-1, 2)}

    samples = [made([[1, 0]], []), made([[0, 1], [1, 2], [3, 1]], [[0, 1], [1, 2]]), made([[0, 2], [1, 1]], [[1, 0]])]
    junk = [{}, made([[1, 0]], [[0, 1]]), made(np.zeros((0, 2)), []), made([[1, NAN]], [])]
    check_modality(graph.Graph(features=2), samples, junk=junk)
    read = graph.Graph(features=2).from_line('{"nodes": [[1, 0], [0, 1]], "edges": [[0, 1]]}')
    assert read["nodes"].shape == (2, 2) and read["edges"].tolist() == [[0, 1]]
    with pytest.raises(ValueError, match="edges"):
        graph.Graph(features=2).from_line('{"nodes": [[1, 0]]}')


@pytest.mark.parametrize("name", ["season_forecast", "graph_distance"])
def test_their_problems_are_sound(name):
    problem = registry.problem(name)
    problem.sizes = (("train", 60), ("dev", 20), ("test", 20))
    check_problem(problem, prepared=20, worker=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, metric, margin", [("season_forecast", "r2", 0.3), ("graph_distance", "accuracy_top1", 0.2)]
)
def test_they_learn_beside_tiny8(name, metric, margin, tmp_path):
    problem = registry.problem(name)
    problem.sizes = (("train", 600), ("dev", 100), ("test", 10))
    scores, trivial = learn(problem, tmp_path, steps=300)
    beyond_trivial(scores, trivial, metric, margin)
