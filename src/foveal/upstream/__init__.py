"""Models that a server elsewhere runs: a request in its dialect, and its stream as deltas."""
