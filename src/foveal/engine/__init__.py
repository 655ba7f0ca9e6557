"""Tokens in, tokens out: sequences, scheduling, the KV and encoder caches, sampling, and the engine's own process.

A request's path: client -> streams -> (supervisor -> process | local) -> loop -> engine: scheduler -> runner (batch,
sampler) -> scheduler -> tokens back the same way. Only loading, runner, batch and sampler import torch.
"""
