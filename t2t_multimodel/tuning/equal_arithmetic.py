"""Trials of equal arithmetic: a model with more operations an update has fewer updates."""

from t2t_multimodel.mixture import MixtureSchedule
from t2t_multimodel.training import arithmetic


class EqualArithmetic:
    """How many updates of a model have the operations of the base's `train_steps`, as counted.

    Otherwise a search over numbers of blocks would find that more are better, or with a limit on time that fewer are.
    """

    def __init__(self, base, mixture, stores):
        """
        Args:
          base: the `HParams` that the search starts from. mixture: a `Mixture`. stores: {problem: `ExampleStore`}.

        Raises:
          UserError: a problem whose arithmetic is not counted.
        """
        for store in stores.values():
            arithmetic.check(store.spec)
        self._base, self._splits = base, {name: (s.spec, s.split("train")) for name, s in stores.items()}
        sizes = {name: len(split) for name, (_, split) in self._splits.items()}
        shares = MixtureSchedule(mixture, base, sizes).probabilities(0)
        self._shares = dict(zip(mixture.problem_names, shares.tolist()))
        self.operations_of_base = self.operations(base)

    def operations(self, hparams):
        """Of an update, a mean over the draws."""
        each = {name: arithmetic.of_update(hparams, *where) for name, where in self._splits.items()}
        count = hparams.gradient_accumulation_steps
        return count * sum(share * each[name] for name, share in self._shares.items())

    def steps(self, hparams):
        """The updates of a trial."""
        return max(1, round(self._base.train_steps * self.operations_of_base / self.operations(hparams)))

    def warmup(self, steps):
        """The warm-up of a trial of so many updates: the same part of it as of the base's."""
        return max(1, round(self._base.learning_rate_warmup_steps * steps / self._base.train_steps))
