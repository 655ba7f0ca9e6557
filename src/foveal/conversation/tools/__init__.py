"""Calls of tools: how a checkpoint writes them, what may be written, and how it is read."""
