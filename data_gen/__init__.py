"""Data generation: corpus → samples → examples on disk. `generate.py` tells the story; nothing here knows a model."""
