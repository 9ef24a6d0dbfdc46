"""Metrics by name: how decoded and teacher-forced output is scored."""
