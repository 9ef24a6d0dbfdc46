"""Experiments: suites of training runs that answer a question, with queue, cache and reports (docs/experiments.md)."""
