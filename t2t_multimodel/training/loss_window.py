"""Sums of what updates report between two lines of the log. A checkpoint keeps them, so no line depends on kills."""

import time

_OF_TARGETS = ("loss", "cross_entropy", "ctc_loss")  # means over the batches of which a target is known
_OF_BATCHES = ("load_balance_loss", "dropped_token_fraction", "ctc_too_long")


class LossWindow:
    """What is summed since the last line of the log."""

    def __init__(self):
        self.latest = ({}, 0)  # ({problem: loss}, tokens) of the newest update, for the progress bar
        self._clear()

    def _clear(self):
        self._sums, self._steps, self._norm = {}, 0, 0.0
        # Speed is that of this process: the time of one that was killed is not known.
        self._started, self._timed_steps, self._timed_tokens = time.monotonic(), 0, 0

    def add(self, batches, reports, norm):
        self._steps += 1
        self._norm += norm
        for batch, report in zip(batches, reports):
            sums = self._sums.setdefault(
                batch.problem,
                dict.fromkeys(("microbatches", "without_targets", "input_tokens", "target_tokens", *report), 0.0),
            )
            without = not report["weight"]
            sums["microbatches"] += 1
            sums["without_targets"] += without
            sums["input_tokens"] += batch.input_tokens
            sums["target_tokens"] += batch.target_tokens
            for name, value in report.items():
                sums[name] += 0.0 if without and name in _OF_TARGETS else value
        tokens = sum(batch.input_tokens + batch.target_tokens for batch in batches)
        self._timed_steps += 1
        self._timed_tokens += tokens
        self.latest = ({b.problem: r["cross_entropy"] for b, r in zip(batches, reports) if r["weight"]}, tokens)

    def write(self, log, step, stream, rate, train_seconds):
        """Logs what was summed: of each problem drawn, and of the run; `train_seconds` is what the clock says."""
        shares = stream.shares()
        seconds = max(time.monotonic() - self._started, 1e-9)
        for problem, sums in self._sums.items():
            planned, actual = shares[problem]
            with_targets = sums["microbatches"] - sums["without_targets"]
            counts = dict.fromkeys(_OF_TARGETS, with_targets) | dict.fromkeys(_OF_BATCHES, sums["microbatches"])
            means = {name: sums[name] / count for name, count in counts.items() if name in sums and count}
            log.write(
                step,
                means
                | {
                    "microbatches": sums["microbatches"],
                    "share_planned": planned,
                    "share_actual": actual,
                    "examples_seen": stream.examples_seen[problem],
                },
                problem=problem,
            )
        run = {"learning_rate": rate, "gradient_norm": self._norm / self._steps}
        speed = {"tokens_per_second": self._timed_tokens / seconds, "steps_per_second": self._timed_steps / seconds}
        log.write(step, run | speed | {"train_seconds": train_seconds})
        self._clear()

    def state(self):
        """The sums, as plain values for JSON."""
        return {"steps": self._steps, "norm": self._norm, "sums": {name: dict(s) for name, s in self._sums.items()}}

    def restore(self, state):
        """Goes on where `state()` was taken."""
        self._steps, self._norm = int(state["steps"]), float(state["norm"])
        older = {"without_targets": 0.0}  # what states of older versions lack
        self._sums = {name: older | {n: float(v) for n, v in sums.items()} for name, sums in state["sums"].items()}
