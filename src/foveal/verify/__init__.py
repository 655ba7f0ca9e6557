"""`foveal verify`: one checkpoint asked the same here and in transformers, so that anyone can check exactness."""
