"""All hparams sets of the package; importing this registers them. The `*.gin` files are examples."""

from t2t_multimodel.hparams import multimodel  # noqa: F401
