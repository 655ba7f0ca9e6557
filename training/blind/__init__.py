"""A test of foveal-mini that was written without a look at what it was trained on."""
