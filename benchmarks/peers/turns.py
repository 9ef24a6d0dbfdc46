"""Takes turns: each side is a process of its own, made ready first; then a block of each, while all others wait."""

import json
import os
import statistics
import subprocess
import tempfile
import time

from peers.blocks import busy

QUIET = 0.2  # processors that others may use during a block that counts
_LOOK = 0.15  # seconds for which the machine is looked at before a round


class Side:
    """One process that speaks as `blocks.serve` does."""

    def __init__(self, command, folder=None, environment=None):
        self.name = " ".join(map(str, command[1:]))
        self.blocks = []  # (wall seconds, processor seconds, processors that others used)
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
        self.process = subprocess.Popen(
            list(map(str, command)),
            cwd=folder,
            env=os.environ | (environment or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def wait(self, word):
        """What follows on the next line that begins with `word`; raises `RuntimeError` where the process ends first."""
        for line in self.process.stdout:
            if line.startswith(word):
                return line.removeprefix(word).strip()
        self._errors.seek(0)
        said = [line.strip() for line in self._errors if line.strip()]
        raise RuntimeError(f"{self.name} ended with status {self.process.wait()}: {said[-1] if said else 'no output'}")

    def say(self, word):
        """Raises: `RuntimeError` where the process has ended."""
        try:
            self.process.stdin.write(word + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            self.wait("\0")  # which nothing says: raises

    def block(self):
        self.say("run")
        self.blocks.append(tuple(json.loads(self.wait("BLOCK"))))

    def result(self):
        """What it tells at its end. A peer times products before that, of which it needs a block."""
        self.say("next")
        for line in self.process.stdout:
            if line.startswith("READY"):
                self.say("run")
                self.say("next")
            elif line.startswith("RESULT"):
                return json.loads(line.removeprefix("RESULT"))
        return {}

    def end(self):
        self.process.kill()
        self.process.communicate()
        self._errors.close()

    @property
    def quiet(self):
        """Wall seconds of the blocks that others left alone."""
        return [wall for wall, _, others in self.blocks if others <= QUIET]

    @property
    def seconds(self):
        """The median of the quiet blocks."""
        return statistics.median(self.quiet)


def take_turns(sides, rounds, patience):
    """Blocks of all sides in turn until each has `rounds` quiet ones.

    Raises:
      RuntimeError: the machine was not left alone for long enough in `patience` seconds.
    """
    end = time.monotonic() + patience
    while any(len(side.quiet) < rounds for side in sides):
        if time.monotonic() > end:
            least = min(sides, key=lambda side: len(side.quiet))
            raise RuntimeError(
                f"others used the machine: of {len(least.blocks)} blocks of {least.name} {len(least.quiet)} were quiet,"
                f" not {rounds}; run it again when the machine is idle"
            )
        if _others() <= QUIET:
            for side in sides:
                side.block()


def _others():
    start = busy()
    time.sleep(_LOOK)
    return (busy() - start) / _LOOK
