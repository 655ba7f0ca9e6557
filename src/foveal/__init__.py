"""Foveal: a self-hosted server for vision-language models."""

__version__ = "0.1.0"
