"""Matrices of quantised files: how each format stores them, and the numbers and scales that they are."""
