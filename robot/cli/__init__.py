"""The `sail` command: one small module per verb; the only place that knows Hydra."""
