"""The engine's process. Tokens in, tokens out: sequences, scheduling, the KV and encoder caches, sampling.

A request's path: process -> loop -> engine: scheduler -> runner (batch, sampler) -> scheduler -> tokens back the same
way. What the server sees of all this is `foveal.engine_client`. Only loading, runner, batch and sampler import torch.
"""
