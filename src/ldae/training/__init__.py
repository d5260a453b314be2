"""Training: loop, checkpoints, callbacks, diagnostics. A resumed run is bit-identical."""
