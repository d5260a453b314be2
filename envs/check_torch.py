"""Says which torch `make env` has installed; fails unless it is the one that was asked for."""

import sys

import torch

asked = sys.argv[1] if len(sys.argv) > 1 else ""
cuda = torch.version.cuda
print(f"torch {torch.__version__}, {f'with CUDA {cuda}' if cuda else 'for CPUs'}")
if asked == "cuda" and not cuda:
    sys.exit("TORCH=cuda, but pip has no torch with CUDA for this machine (docs/install.md).")
if asked == "cpu" and cuda:
    sys.exit("TORCH=cpu, but pip has installed torch with CUDA (docs/install.md).")
