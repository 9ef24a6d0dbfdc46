"""Tuning: search over hyper-parameters with Optuna. Knows neither models nor data; trials are runs of their own."""
