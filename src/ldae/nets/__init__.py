"""Network architectures, their pretrained starts, and their execution; no training."""
