"""Tuning: search over hyper-parameters with Optuna. It does not use models or data; each trial is a separate run."""
