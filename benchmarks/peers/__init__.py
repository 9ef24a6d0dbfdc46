"""What `benchmarks/against_peers.py` runs in turn: this project's side, and the protocol of all sides."""
