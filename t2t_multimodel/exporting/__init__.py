"""One problem of a run for other programs: SavedModel, ONNX, LiteRT, StableHLO, and a folder to publish."""
