"""Experiments: suites of training runs that answer a question, queued, cached and reported (docs/experiments.md)."""
