"""The batches of a mixture: each step draws problems and takes the next batch of each."""

import numpy as np

from t2t_multimodel.errors import UserError
from t2t_multimodel.mixture import LossAverages, LossBalance


class MixtureStream:
    """Draws batches of several problems, and keeps count of what was planned and what was drawn.

    For one seed, the draws follow from the step and, where the mixture is adaptive, from the losses recorded; so do the
    weights of the problems' losses.
    """

    def __init__(self, streams, schedule, seed):
        """
        Args:
          streams: {problem: BatchStream}, one for each problem of the schedule.
          schedule: a `MixtureSchedule`.
          seed: of the draws.
        """
        self.streams = {problem: streams[problem] for problem in schedule.problems}
        self._schedule = schedule
        self._seed = seed
        self._mixture = [[problem, round(share, 9)] for problem, share in schedule.shares]
        self._losses = LossAverages(schedule.problems)
        self._balance = LossBalance(schedule.problems, schedule.hparams)
        self._planned = np.zeros(len(schedule.problems))  # sum over all draws of the probabilities
        self._drawn = dict.fromkeys(schedule.problems, 0)
        self.examples_seen = dict.fromkeys(schedule.problems, 0)  # in the batches handed out so far

    def probabilities(self, step):
        """{problem: probability} of a draw at this step."""
        return dict(zip(self._schedule.problems, self._probabilities(step).tolist()))

    def microbatches(self, step, count=None):
        """The batches of a step, `gradient_accumulation_steps` unless told; a problem that is drawn twice gives two."""
        probabilities = self._probabilities(step)
        batches = []
        for i in range(count or self._schedule.gradient_accumulation_steps):
            problem = self._schedule.draw(self._seed, step, i, probabilities, count)
            batches.append(self.streams[problem].next())
            self._drawn[problem] += 1
            self.examples_seen[problem] += batches[-1].examples
            self._planned += probabilities
        return batches

    def shapes_ahead(self, step, count):
        """Yields what `microbatches` will draw, for each of `count` steps from `step` on: [(problem, shape)].

        Shapes are those of `BatchStream.shapes_ahead`. With mixture=adaptive draws depend on losses: these are what it
        would draw if the losses stayed as they are.
        """
        shapes = {problem: stream.shapes_ahead() for problem, stream in self.streams.items()}
        for ahead in range(step, step + count):
            probabilities = self._probabilities(ahead)
            draws = range(self._schedule.gradient_accumulation_steps)
            drawn = [self._schedule.draw(self._seed, ahead, i, probabilities) for i in draws]
            yield [(problem, next(shapes[problem])) for problem in drawn]

    @property
    def needs_losses(self):
        """Whether the next draw, or its weight, needs the losses of the updates before."""
        return self._schedule.kind == "adaptive" or self._balance.kind != "none"

    def loss_weights(self, batches):
        """The weight of the loss of each of the batches, see `LossBalance`; None: by the hparams all weigh the same."""
        if self._balance.kind == "none":
            return None
        weights = self._balance.weights()
        return [weights[batch.problem] for batch in batches]

    def record_loss(self, problem, loss):
        """Tells the adaptive mixture and the balance of losses a training loss, once for each draw."""
        self._losses.record(problem, loss)
        self._balance.record(problem, loss)

    def shares(self):
        """{problem: (planned share, actual share)} of all draws so far; zeros before the first."""
        total = max(1, sum(self._drawn.values()))
        planned = (self._planned / total).tolist()
        return {p: (share, self._drawn[p] / total) for p, share in zip(self._schedule.problems, planned)}

    def state(self):
        """Positions, losses and counts, as plain values for JSON; small."""
        return {
            "mixture": self._mixture,
            "streams": {problem: stream.state() for problem, stream in self.streams.items()},
            "losses": self._losses.state(),
            "planned": dict(zip(self._schedule.problems, self._planned.tolist())),
            "drawn": dict(self._drawn),
            "examples_seen": dict(self.examples_seen),
        } | ({} if self._balance.kind == "none" else {"balance": self._balance.state()})

    def restore(self, state, same_mixture=True):
        """Goes on where `state()` was taken.

        Args: same_mixture: whether the problems must have the same shares, in the same order.

        Raises:
          UserError: that was another mixture, or other data.
        """
        before, now = sorted(state["streams"]), sorted(self.streams)
        if before != now:
            raise UserError(
                f"the checkpoint was trained on {', '.join(before)}, this run is to train on {', '.join(now)}; name "
                f"the same problems to continue it, or another --output_dir to start anew"
            )
        trained = [list(each) for each in state.get("mixture", self._mixture)]  # older checkpoints have none
        if same_mixture and trained != self._mixture:
            raise UserError(
                f"the checkpoint was trained on the mixture {_in_words(trained)}, this run is to train on "
                f"{_in_words(self._mixture)}; give the same --problem, with its weights and order, to continue it, or "
                "another --output_dir to start anew"
            )
        for problem, stream in self.streams.items():
            stream.restore(state["streams"][problem])
        self.restore_counts(state)

    def restore_counts(self, state):
        """Goes on with what is known of the problems' losses and draws, if they are those of `state`."""
        if sorted(state["streams"]) != sorted(self.streams):
            return
        self._losses.restore(state["losses"])
        self._balance.restore(state.get("balance", {}))  # a run that others were started from may have another rule
        self._planned = np.array([state["planned"][problem] for problem in self._schedule.problems])
        self._drawn = {problem: state["drawn"][problem] for problem in self._schedule.problems}
        seen = state.get("examples_seen", {})  # checkpoints from before it was counted have none
        self.examples_seen = {problem: seen.get(problem, 0) for problem in self._schedule.problems}

    def close(self):
        """Ends the streams' threads."""
        for stream in self.streams.values():
            stream.close()

    def _probabilities(self, step):
        return self._schedule.probabilities(step, self._losses.relative())


def _in_words(mixture):
    return ", ".join(f"{problem} {share:.3g}" for problem, share in mixture)
