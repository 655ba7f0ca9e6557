"""Served models: the stages put together for a checkpoint, and one whole request through them."""
