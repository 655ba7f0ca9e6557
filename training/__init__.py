"""How the bundled model, foveal-mini, is made: pictures from seeds, questions about them, a trainer, an exporter."""
