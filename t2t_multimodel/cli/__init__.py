"""The commands: one thin module each, over the frame in `command.py`."""
