"""One problem of a run for other programs: a SavedModel, or a folder to publish."""
