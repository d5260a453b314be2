"""Says which torch `make env` has installed; fails unless it is the one that was asked for."""

import argparse
from pathlib import Path

import torch

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("asked", nargs="?", choices=["cpu", "cuda"], help="the build; without: any")
parser.add_argument("--stamp", metavar="FILE", help="write the empty file FILE-cpu or FILE-cuda")
arguments = parser.parse_args()

cuda = torch.version.cuda
build = "cuda" if cuda else "cpu"
print(f"torch {torch.__version__}, {f'with CUDA {cuda}' if cuda else 'for CPUs'}")
if arguments.asked == "cuda" and not cuda:
    parser.exit(1, "TORCH=cuda, but pip has no torch with CUDA for this machine (docs/install.md).\n")
if arguments.asked == "cpu" and cuda:
    parser.exit(1, "TORCH=cpu, but pip has installed torch with CUDA (docs/install.md).\n")
if arguments.stamp:
    Path(f"{arguments.stamp}-{build}").touch()
