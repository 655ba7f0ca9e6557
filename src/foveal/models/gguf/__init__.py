"""GGUF files: a model in llama.cpp's format, made into a folder that the rest reads as any other."""
