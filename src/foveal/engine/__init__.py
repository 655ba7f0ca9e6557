"""The engine's process. Tokens in, tokens out: sequences, scheduling, the KV and encoder caches, sampling.

A request's path: process -> loop -> engine: scheduler -> runner (batch, sampler) -> scheduler -> tokens back the same
way. The server's side is `foveal.engine_client`. Of this folder only what loads, computes or samples imports torch.
"""
