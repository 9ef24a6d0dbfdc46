"""Trials of equal arithmetic: a model with more operations an update has fewer updates."""

from t2t_multimodel.errors import UserError
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
          UserError: a problem whose arithmetic is not counted, or a mixture whose shares change while it is trained.
        """
        for store in stores.values():
            arithmetic.check(store.spec)
        self._base, self._mixture = base, mixture
        self._splits = {name: (s.spec, s.split("train")) for name, s in stores.items()}
        self._sizes = {name: len(split) for name, (_, split) in self._splits.items()}
        self.operations_of_base = self.operations(base)

    def operations(self, hparams):
        """Of an update, a mean over the draws; raises `UserError` where their shares change while it is trained."""
        if hparams.mixture in ("adaptive", "schedule"):
            raise UserError(
                f"mixture={hparams.mixture} draws other shares of the problems at each step, so equal arithmetic can't "
                "be counted beforehand; leave out --equal_arithmetic, or set mixture=fixed or size"
            )
        each = {name: arithmetic.of_update(hparams, *where) for name, where in self._splits.items()}
        shares = MixtureSchedule(self._mixture, hparams, self._sizes).probabilities(0).tolist()
        drawn = zip(self._mixture.problem_names, shares)
        return hparams.gradient_accumulation_steps * sum(share * each[name] for name, share in drawn)

    def steps(self, hparams):
        """The updates of a trial."""
        return max(1, round(self._base.train_steps * self.operations_of_base / self.operations(hparams)))
