"""Every hparams set that ships; importing this registers them. `*.gin` beside the sets are examples of gin files."""

from t2t_multimodel.hparams import multimodel  # noqa: F401
