"""What a run is asked to do, besides its hyper-parameters; checked before anything slow starts."""

import dataclasses
import os
from pathlib import Path

from t2t_multimodel.errors import UserError, unknown_name
from t2t_multimodel.hyperparameters import Resolved, check_backend
from t2t_multimodel.mixture import Mixture

SCHEDULES = ("train_and_evaluate", "train", "evaluate")


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """The command line of a run; `cli/trainer.py` says what each value means. Intervals are numbers of updates."""

    resolved: Resolved
    mixture: Mixture
    data_dir: str
    output_dir: str
    model: str = "multimodel"
    seed: int = 0
    schedule: str = SCHEDULES[0]
    save_interval: int = 1000
    eval_interval: int = 1000
    eval_batches: int = 0
    keep_checkpoints: int = 5
    early_stopping_metric: str = ""
    early_stopping_patience: int = 0
    log_interval: int = 50
    skip_decoding: bool = False
    eval_workers: int = 1
    devices: int = 0
    expert_devices: int = 0
    shard_weights: bool = False
    keep_best: str = ""
    warm_start_from: str = ""  # "RUN" or "RUN@step"
    warm_start_map: str = ""  # "new_problem=old_problem,…"
    keep_optimizer: bool = False

    def __post_init__(self):
        """Raises `UserError` for values that contradict each other or are out of range."""
        from t2t_multimodel import registry

        if self.schedule not in SCHEDULES:
            raise unknown_name("schedule", self.schedule, SCHEDULES)
        if self.schedule != "evaluate":
            check_backend(self.resolved.hparams, os.environ.get("KERAS_BACKEND"))
        for name, least in (
            ("save_interval", 1),
            ("eval_interval", 1),
            ("log_interval", 1),
            ("keep_checkpoints", 1),
            ("eval_workers", 1),
        ):
            if getattr(self, name) < least:
                raise UserError(f"{name}={getattr(self, name)} must be at least {least}")
        if bool(self.early_stopping_metric) != bool(self.early_stopping_patience):
            raise UserError(
                "--early_stopping_metric and --early_stopping_patience need each other: give both or neither"
            )
        stopping = self.early_stopping_metric.rpartition("/")[2]
        forced = [entry.name for entry in registry.metrics.entries() if entry.value.teacher_forced]
        if self.skip_decoding and stopping and stopping not in forced:
            raise UserError(
                f"--skip_decoding leaves nothing to tell {stopping} by; give --early_stopping_metric one of "
                f"{', '.join(forced)}"
            )
        if self.skip_decoding and self.keep_best and self.keep_best.rpartition("/")[2] not in forced:
            raise UserError(
                f"--skip_decoding leaves no {self.keep_best} to keep the best by; give --keep_best one of "
                f"{', '.join(forced)}"
            )
        if self.schedule == "train" and (self.early_stopping_metric or self.keep_best):
            raise UserError(
                "--schedule=train scores nothing, so it finds no best checkpoint and never stops early; leave out "
                "--early_stopping_metric and --keep_best, or give --schedule=train_and_evaluate"
            )
        if not self.warm_start_from and (self.warm_start_map or self.keep_optimizer):
            raise UserError("--warm_start_map and --keep_optimizer go with --warm_start_from=RUN; give that too")
        if self.warm_start_from and self.schedule == "evaluate":
            raise UserError("--warm_start_from is for training; leave it out with --schedule=evaluate")
        if Path(self.output_dir).resolve() == Path(self.data_dir).resolve():
            raise UserError(f"--output_dir and --data_dir are one folder, {self.data_dir}: a run needs its own")
