"""Foveal beside other servers on one machine, with the same random weights: `python -m benchmarks.compare --help`.

shapes       checkpoints of published size in a cache folder, and their GGUF twins
gguf_twin    a checkpoint as GGUF files; runs in any Python that has the package gguf
peers        which programs there are, how each is started, and when it is ready
in_process   a small server around a library that is none; runs in that library's Python
ceilings     what this machine can do at most: memory read, matrix products
rows         what is measured, as requests over HTTP
visits       one server from start to end, and the file of what was measured
table        the file -> Markdown
"""
