"""One problem of a run for other programs: a SavedModel that takes strings and gives answers."""
