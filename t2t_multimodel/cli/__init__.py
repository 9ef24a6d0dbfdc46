"""The commands: one thin module each, based on `command.py`."""
