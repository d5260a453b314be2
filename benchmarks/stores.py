"""Stores at the paper's size: random reads a second, compared with one file a scan; packing time.

    PYTHONPATH=src python benchmarks/stores.py [--scans 24] [--folder /tmp/stores]

Reads are in random order, one at a time, by one thread. Cold: the kernel is asked to drop the files
from its cache before. Only the ratios within one run are meaningful.
"""

import argparse
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import torch

from ldae.data.latent_store import LatentStore, moments_hash
from ldae.data.store import finish_store
from ldae.data.volume_index import build_volume_store
from ldae.data.volume_packing import pack_shard
from ldae.data.volume_store import VolumeStore
from ldae.data.volume_transform import StoreTransform
from ldae.derivatives import scan_files

SHAPE, LATENT = (128, 160, 128), (3, 16, 20, 16)
CFG = {"spacing": 1.5, "shape": list(SHAPE), "interpolation": "bspline", "dtype": "float16"}


def drop(folder: Path) -> None:
    """Drop the files of a folder from the page cache."""
    for path in folder.rglob("*"):
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            os.fsync(handle)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)


def rate(read: Callable[[int], object], n: int, folder: Path) -> tuple[float, float]:
    """Items a second, cold and warm."""
    order = np.random.default_rng(0).permutation(n)
    rates = []
    drop(folder)
    for _ in ("cold", "warm"):
        began = time.perf_counter()
        for row in order:
            read(int(row))
        rates.append(n / (time.perf_counter() - began))
    return rates[0], rates[1]


def widened(array: np.ndarray) -> torch.Tensor:
    """float32, as the store gives it."""
    return torch.from_numpy(array).float()


def report(name: str, rates: tuple[float, float], store: tuple[float, float]) -> None:
    """One line: rates, and how many times faster the store is."""
    ratios = "  ".join(f"{ours / theirs:8.1f}" for ours, theirs in zip(store, rates, strict=True))
    print(f"{name:<34}{rates[0]:10.0f}{rates[1]:10.0f}    {ratios}")


def write_registered(scans: pd.DataFrame, preproc: Path) -> None:
    """Smooth random heads with a background of zero, as registration leaves them."""
    grid = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
    inside = sum(axis**2 for axis in grid) < 0.6
    affine = np.diag([1.5, 1.5, 1.5, 1.0])
    for number, files in enumerate(scan_files(scans, preproc, "T")):
        noise = torch.rand(1, 1, *(n // 8 for n in SHAPE), generator=_seed(number))
        fine = torch.nn.functional.interpolate(noise, SHAPE, mode="trilinear")[0, 0].numpy()
        files.folder.mkdir(parents=True)
        nib.save(
            nib.Nifti1Image((500 * fine * inside).astype("f4"), affine), files.registered_brain
        )


def _seed(number: int) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def pack(scans: pd.DataFrame, preproc: Path, folder: Path) -> float:
    """Pack two shards and build the store; seconds."""
    began = time.perf_counter()
    cards = []
    for number, part in enumerate(np.array_split(np.arange(len(scans)), 2)):
        cards.append(folder / f"shards/shard-{number}.json")
        rows = scans.iloc[part]
        pack_shard(rows, rows.assign(status="ok"), preproc, cards[-1], CFG, "T")
    build_volume_store(scans.assign(split="train"), cards, folder)
    return time.perf_counter() - began


def volumes(scans: pd.DataFrame, root: Path) -> None:
    """Pack, pack again, and read volumes in every form."""
    n, preproc, folder = len(scans), root / "preproc", root / "volumes"
    write_registered(scans, preproc)
    files = scan_files(scans, preproc, "T")
    transform = StoreTransform(CFG["spacing"], CFG["shape"], CFG["interpolation"])
    transform(files[0].registered_brain)  # imports
    first = pack(scans, preproc, folder)
    changed = files[0].registered_brain
    again = pack(scans, preproc, folder)
    shutil.copyfile(files[1].registered_brain, changed)
    one = pack(scans, preproc, folder)
    print(f"packing {n} scans: {first:.2f} s; unchanged {again:.2f} s; one changed {one:.2f} s")
    store = VolumeStore(folder)
    for row in range(n):
        (root / "npy").mkdir(exist_ok=True)
        (root / "npz").mkdir(exist_ok=True)
        np.save(root / f"npy/{row}.npy", store.volume(row).numpy().astype("f2"))
        np.savez_compressed(root / f"npz/{row}.npz", x=store.volume(row).numpy().astype("f2"))
    ours = rate(store.volume, n, folder)
    print(f"{'volumes, items/s':<34}{'cold':>10}{'warm':>10}    store is x times faster")
    report("store (shards, memory map)", ours, ours)
    npy = rate(lambda r: widened(np.load(root / f"npy/{r}.npy")), n, root / "npy")
    report("npy a scan", npy, ours)
    npz = rate(lambda r: widened(np.load(root / f"npz/{r}.npz")["x"]), n, root / "npz")
    report("npz a scan, compressed", npz, ours)
    few = min(n, 6)
    nifti = rate(lambda r: transform(files[r].registered_brain), few, preproc)
    report("NIfTI and transform", nifti, ours)


def latents(n: int, root: Path) -> None:
    """Read latents as the store has them and as an npz a scan."""
    rng = np.random.default_rng(0)
    mean, std = rng.normal(size=(2, n, *LATENT)).astype("f4")
    folder = root / "latents"
    (folder / "npz").mkdir(parents=True)
    names = [f"sub-{row}" for row in range(n)]
    index = pd.DataFrame({"scan_id": names, "participant_id": names, "split": "train"})
    index["sha256"] = [moments_hash(*pair) for pair in zip(mean, std, strict=True)]
    for name, array in (("mean", mean), ("std", std)):
        np.save(folder / f"{name}.npy", array)
    for row in range(n):
        np.savez(folder / f"npz/{row}.npz", mean=mean[row], std=std[row])
    card = {"kind": "latents", "shape": [n, *LATENT], "dtype": "float32", "scale": 1.0}
    finish_store(folder, index, card | {"source": "mean", "volumes": "", "autoencoder": ""})
    ours = rate(LatentStore(folder).latent, n, folder)
    print(f"{'latents, items/s':<34}{'cold':>10}{'warm':>10}    store is x times faster")
    report("store (memory map)", ours, ours)
    npz = rate(lambda r: torch.from_numpy(np.load(folder / f"npz/{r}.npz")["mean"]), n, folder)
    report("npz a scan", npz, ours)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scans", type=int, default=24)
    parser.add_argument("--folder", type=Path, help="on the disk to measure; a new one below it")
    arguments = parser.parse_args()
    logging.disable()
    torch.set_num_threads(1)
    names = [f"sub-{number:03d}" for number in range(arguments.scans)]
    scans = pd.DataFrame({"scan_id": [f"{n}_ses-1" for n in names], "participant_id": names})
    scans = scans.assign(session_id="ses-1", path="n/a")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as root:
        volumes(scans, Path(root))
        latents(100 * arguments.scans, Path(root))


if __name__ == "__main__":
    main()
