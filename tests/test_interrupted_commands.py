"""Ctrl-C in any command: status 130, no traceback; one that a callback of a library drops comes again."""

import os
import signal
import subprocess
import sys

import pytest

# A command whose work is in a destructor, which can't raise; then what Python does at its end takes a while.
COMMAND = """
import atexit, os, sys, time
from t2t_multimodel.cli.command import Command

command = Command("t2t-example", "An example.")
command.group("Everywhere")
command.standard_flags(backend=False)

def busy(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass

class Dropped:
    def __del__(self):
        print("working", flush=True)
        busy(20)
        print("not interrupted", flush=True)

def work(flags):
    if os.environ["HOW"] == "dropped":
        Dropped()
        busy(20)
    try:
        print("working", flush=True)
        busy(20)
    finally:
        print("cleaning", flush=True)
        busy(20)

@atexit.register
def slow():
    print("ending", flush=True)
    busy(20)

sys.exit(command.run(work))
"""


@pytest.fixture
def child():
    """Starts it, to be interrupted in one of two ways."""
    children = []

    def start(how, *flags):
        made = subprocess.Popen(
            [sys.executable, "-c", COMMAND, *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "HOW": how},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        children.append(made)
        return made

    yield start
    for made in children:
        made.kill()


def interrupted_at(child, *words):
    """Its status and standard error, with a Ctrl-C at each of the words that it prints."""
    for word in words:
        assert child.stdout.readline() == f"{word}\n", child.stderr.read()
        child.send_signal(signal.SIGINT)
    out, error = child.communicate(timeout=30)
    assert out == "", out
    return child.returncode, error


def test_one_that_a_callback_drops_comes_again(child):
    assert interrupted_at(child("dropped"), "working", "ending") == (130, "")


def test_a_second_one_ends_the_cleaning_and_what_python_does_at_its_end(child):
    assert interrupted_at(child("", "--no_such_flag"), "ending")[0] == 130
    assert interrupted_at(child("plain"), "working", "cleaning") == (130, "")
