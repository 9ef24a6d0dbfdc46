"""docs/reports.md: its code runs as it is written, its searches mean something; test_report.py makes its reports."""

import re
import shlex

import pytest

from t2t_multimodel.budget import parse_budget
from t2t_multimodel.cli import tune
from t2t_multimodel.cli.settings import resolve
from t2t_multimodel.metrics.teacher_forced import TEACHER_FORCED
from t2t_multimodel.mixture import parse
from t2t_multimodel.tuning import space
from t2t_multimodel.tuning.objective import Objective


def commands(text, name):
    """The arguments of every command `name` in the indented blocks of docs/reports.md, as they are written."""
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    lines = [shlex.split(line.strip()) for line in prose.splitlines() if line.startswith("    ")]
    assert {words[0] for words in lines} == {"t2t-report", "t2t-tune", "t2t-bleu", "pip"}
    return [words[1:] for words in lines if words[0] == name]


@pytest.fixture(scope="module")
def text(request):
    return (request.config.rootpath / "docs" / "reports.md").read_text(encoding="utf-8")


def test_the_code_of_the_page_runs(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    exec(compile(code, "docs/reports.md", "exec"), {})
    assert "| deep | 89.5 |" in (tmp_path / "settings.md").read_text(encoding="utf-8")
    assert (tmp_path / "settings.html").stat().st_size


def test_the_searches_of_the_page_mean_something(text):
    found = commands(text, "t2t-tune")
    assert len(found) == 4
    for words in found:
        flags = tune.command.parse(words)
        problems = parse(flags.problem).problem_names
        hparams = resolve(flags.hparams_set, flags.hparams, train_steps=flags.train_steps).hparams
        assert space.parse(flags.hparams_range, hparams)
        Objective(flags.metric, dict.fromkeys(problems, ("bleu", *TEACHER_FORCED)))
        assert flags.trials or parse_budget(flags.budget or "1s")
