"""A time budget is read the same way by every command that takes one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t2t_multimodel.budget import parse_budget
from t2t_multimodel.cli import experiment, tune
from t2t_multimodel.errors import UserError


@pytest.mark.parametrize(
    "text, seconds",
    [
        ("90s", 90),
        ("20m", 1200),
        ("1h", 3600),
        ("1.5h", 5400),
        ("1h30m", 5400),
        ("1H30M", 5400),
        (" 2h0m30s ", 7230),
        ("0.5m", 30),
        ("1h15s", 3615),
    ],
)
def test_a_time_is_read(text, seconds):
    assert parse_budget(text) == seconds


@given(st.integers(0, 99), st.integers(0, 99), st.integers(1, 99))
def test_hours_minutes_and_seconds_add_up(hours, minutes, seconds):
    assert parse_budget(f"{hours}h{minutes}m{seconds}s") == 3600 * hours + 60 * minutes + seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        None,
        "soon",
        "20",
        "h",
        "1.5",
        "-5m",
        "1m1h",
        "30m30m",
        "1h 30m",
        "1e3s",
        ".5h",
        "5.h",
        "0m",
        "0h0s",
        "inf",
        "nanh",
        "٣m",
        "9" * 400 + "h",
    ],
)
def test_what_is_no_time_is_one_line(text):
    with pytest.raises(UserError) as error:
        parse_budget(text)
    assert str(error.value).startswith(f"--budget={text or ''}") and "1h30m" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("command", [experiment, tune], ids=["t2t-experiment", "t2t-tune"])
def test_the_help_of_the_commands_shows_times_that_they_read(command, run_command):
    _, said, _ = run_command(command.main, "--help")
    about = said[said.index("--budget") :][:250]
    shown = [word.strip(",;.") for word in about.split() if word[0].isdigit()]
    assert shown and all(parse_budget(word) for word in shown if word[-1] in "smh")
