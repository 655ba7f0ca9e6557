"""The decode step in C: step.c, the builds of it that a CPU may need, and a decoder described to it."""
