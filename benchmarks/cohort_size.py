"""Steps that run as one process over the whole cohort: seconds, peak memory and output size.

    PYTHONPATH=src python benchmarks/cohort_size.py [--scans 1000 3000 10340] [--folder /tmp/size]

Each step runs alone in a new process on made-up inputs: empty images, tables as Clinica and the
preprocessing write them, 4.4 scans a subject, 64 shards. Volumes have no content (sparse files).
Only the growth is meaningful; a network file system is slower with many small files.
"""

import argparse
import hashlib
import json
import logging
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from ldae.cohort.flow import flow_table
from ldae.cohort.inclusion import included_scans
from ldae.cohort.ledger import build_ledger
from ldae.cohort.ratings import ANY, read_decisions
from ldae.cohort.scans import build_scans
from ldae.cohort.splits import make_splits, strata
from ldae.cohort.table1 import cohort_table
from ldae.conversion.change_hashes import download_hash
from ldae.conversion.merge import merge_parts
from ldae.data.latent_store import moments_hash
from ldae.data.store import create_array
from ldae.data.volume_index import build_volume_store
from ldae.derivatives import STEPS, read_manifests, scan_files, shard_of
from ldae.files import atomic, read_table, write_json, write_table
from ldae.inference.latents import load_row, training_std
from ldae.preprocess.qc_bounds import MEASURES
from ldae.preprocess.qc_page import write_page

ROOT = Path(__file__).parents[1]
SCHEMA = ROOT / "workflow/schemas/scans.schema.yaml"
SHARDS, PER_SUBJECT = 64, 4.4
TABLES = ("scans", "duplicates")
TEMPLATE = "MNI152NLin2009cSym"
KEY = {"spacing": 1.5, "shape": [128, 160, 128], "interpolation": "bspline", "dtype": "float16"}
LATENT = (3, 16, 20, 16)
MEASURE = {
    "ncc": 0.7, "dice": 0.95, "brain_ml": 1400, "affine_determinant": 0.7, "snr": 16, "cnr": 1.6,
    "residual_bias": 0.02, "fov_cut": 0.0, "border": 0.0, "asymmetry": 0.2,
}  # fmt: skip


class Cohort:
    """Inputs of a cohort of ``number`` scans below ``folder``, and the steps that read them."""

    def __init__(self, folder: Path, number: int):
        self.folder, self.number = folder, number
        subjects = round(number / PER_SUBJECT)
        rows = []
        for scan in range(number):
            subject, visit = scan % subjects, scan // subjects
            name = f"sub-ADNI{subject % 100:03d}S{subject:05d}"
            ptid = f"{subject % 100:03d}_S_{subject:05d}"
            rows.append((f"{name}_ses-M{6 * visit:03d}", name, f"ses-M{6 * visit:03d}", ptid, scan))
        columns = ["scan_id", "participant_id", "session_id", "subject_id", "number"]
        self.rows = pd.DataFrame(rows, columns=columns)
        self.rows["part"] = [shard_of(name, SHARDS) for name in self.rows["participant_id"]]

    def path(self, name: str) -> Path:
        return self.folder / name

    def make_download(self) -> None:
        """The raw folder: an image a scan."""
        for row in self.rows.itertuples():
            image = f"{row.subject_id}/MPRAGE/{row.number:06d}/I{row.number}"
            self.path(f"raw/{image}").mkdir(parents=True)

    def download_hash(self) -> None:
        download_hash(self.path("raw"))

    def make_parts(self) -> None:
        """Parts in the form of Clinica's output."""
        random = np.random.default_rng(0)
        for part, scans in self.rows.groupby("part"):
            bids = self.path(f"parts/ADNI-{part}/bids")
            for name, visits in scans.groupby("participant_id"):
                for scan_id, session in zip(visits["scan_id"], visits["session_id"], strict=True):
                    anat = bids / name / session / "anat"
                    anat.mkdir(parents=True)
                    (anat / f"{scan_id}_T1w.nii.gz").touch()
                    (anat / f"{scan_id}_T1w.json").write_text('{"Manufacturer": "X"}')
                    table = f"{scan_id}_scans.tsv"
                    (bids / name / session / table).write_text("filename\tscan_id\n")
                sessions = visits[["session_id"]].assign(
                    age=random.uniform(55, 90), diagnosis="CN", MMSE=29, cdr_global=0.0
                )
                write_table(sessions, bids / name / f"{name}_sessions.tsv")
            people = pd.DataFrame({"participant_id": sorted(set(scans["participant_id"]))})
            write_table(people.assign(sex="F", apoe4=0), bids / "participants.tsv")
            converted = pd.DataFrame(
                {
                    "cohort": "ADNI",
                    "image_id": [f"I{number}" for number in scans["number"]],
                    "subject_id": scans["subject_id"],
                    "path": [f"image/{number}" for number in scans["number"]],
                    "scan_id": scans["scan_id"],
                    "status": "converted",
                    "reason": "Chosen by Clinica.",
                    "field_strength": 3.0,
                    "image_hash": [hashlib.sha256(s.encode()).hexdigest() for s in scans.scan_id],
                }
            )
            write_table(converted, self.path(f"tables/ADNI-{part}.tsv"))

    def merge(self) -> None:
        names = sorted(path.name for path in self.path("parts").iterdir())
        parts = {name: self.path(f"parts/{name}") for name in names}
        tables = {name: self.path(f"tables/{name}.tsv") for name in names}
        table = merge_parts(parts, tables, None, "ADNI", self.path("bids"))
        write_table(table, self.path("conversion.tsv"))

    def scans(self) -> None:
        conversion = read_table(self.path("conversion.tsv"))
        scans, duplicates = build_scans(self.path("bids"), conversion, SHARDS, SCHEMA)
        write_table(scans, self.path("scans.tsv"))
        write_table(duplicates, self.path("duplicates.tsv"))

    def splits(self) -> None:
        subjects = strata(read_table(self.path("scans.tsv")))
        table = make_splits(subjects, 0.1, 0.01, 42, self.path("frozen"))
        write_table(table, self.path("splits.tsv"))

    def make_preprocessed(self) -> None:
        """Manifests, measures and packed shards."""
        scans = read_table(self.path("scans.tsv"))
        random = np.random.default_rng(0)
        for shard, part in scans.groupby("shard"):
            manifest = part[["scan_id"]].assign(status="ok", reason=None, seconds=60.0)
            for step in STEPS:
                write_table(manifest, self.path(f"preproc/manifests/{step}/shard-{shard}.tsv"))
            file = self.path(f"volumes/shards/shard-{shard}.json")
            records = [
                {"scan_id": name, "image": "0" * 64, "sha256": digest, "look": "0", "reason": ""}
                for name, digest in zip(part["scan_id"], part["image_hash"], strict=True)
            ]
            card = {"key": KEY | {"source": ""}, "affine": np.eye(4).tolist(), "scans": records}
            write_json(card, file)
            shape = (len(part), 1, *KEY["shape"])
            np.lib.format.open_memmap(file.with_suffix(".npy"), "w+", KEY["dtype"], shape)
        for files in scan_files(scans, self.path("preproc"), TEMPLATE):
            files.folder.mkdir(parents=True)
            noisy = {key: value * random.normal(1, 0.05) for key, value in MEASURE.items()}
            files.measures.write_text(json.dumps(noisy | {"picture": "0" * 16}))

    def manifests(self) -> dict[str, pd.DataFrame]:
        folder = self.path("preproc/manifests")
        return read_manifests({step: sorted((folder / step).iterdir()) for step in STEPS})

    def qc(self) -> None:
        bounds = {key: None for measure in MEASURES for key in measure.bounds}
        cfg = {"template": {"name": TEMPLATE}, "qc": bounds}
        scans, duplicates = (read_table(self.path(f"{name}.tsv")) for name in TABLES)
        outputs = self.path("qc/index.html"), self.path("qc/measures.tsv")
        manifests, preproc = self.manifests(), self.path("preproc")
        given = {}, [], ANY, duplicates, *outputs, cfg, ["ADNI"]
        write_page(scans, manifests, preproc, *given)
        parts = [path.stat().st_size / 1e6 for path in self.path("qc/scans").glob("*.js")]
        page = outputs[0].stat().st_size / 1e6
        print(f"{'':7s}page of {page:.2f} MB, {len(parts)} parts of at most {max(parts):.2f} MB")

    def volumes(self) -> None:
        scans, splits = (read_table(self.path(f"{name}.tsv")) for name in ("scans", "splits"))
        included = included_scans(scans, splits, self.manifests(), read_decisions(None, set()))
        shards = sorted(self.path("volumes/shards").glob("*.json"))
        build_volume_store(included, shards, self.path("volumes"))

    def ledger(self) -> None:
        names = ("conversion", *TABLES, "splits", "volumes/index")
        conversion, scans, duplicates, splits, volumes = (
            read_table(self.path(f"{name}.tsv")) for name in names
        )
        decisions = read_decisions(None, set())
        tables = conversion, duplicates, scans, splits, self.manifests(), volumes, decisions
        ledger = build_ledger(*tables)
        write_table(ledger, self.path("ledger.tsv"))
        write_table(flow_table(ledger, conversion), self.path("flow.tsv"))
        write_table(cohort_table(scans, splits), self.path("cohort.tsv"))

    def make_latents(self) -> None:
        """Encoded rows."""
        folder = self.path("rows")
        folder.mkdir()
        pair = np.random.default_rng(0).normal(size=(2, *LATENT)).astype(np.float32)
        for number in range(self.number):
            np.save(folder / f"{number}.npy", pair)

    def latents(self) -> None:
        """As :func:`ldae.inference.latents.build_latent_store` with encoded rows."""
        folder, shape = self.path("rows"), (self.number, *LATENT)
        with atomic(folder / "mean.npy") as mean, atomic(folder / "std.npy") as std:
            moments = [create_array(file, np.float32, shape) for file in (mean, std)]
            for row in range(self.number):
                found = load_row(folder / f"{row}.npy")
                moments_hash(*found)
                for moment, part in zip(moments, found, strict=True):
                    moment[row] = part
            training_std(moments, np.arange(self.number), "mean")


# Measured method -> its rule, and the method that makes its inputs.
STEPS_OF_RULES = {
    "download_hash": ("every start: listing of the download", "make_download"),
    "merge": ("bids: merge by hard links", "make_parts"),
    "scans": ("scans: index by PyBIDS", None),
    "splits": ("splits", None),
    "qc": ("qc: page and measures", "make_preprocessed"),
    "volumes": ("volumes: index over shards", None),
    "ledger": ("ledger: ledger, flow and Table 1", None),
    "latents": ("latents: one store of encoded rows", "make_latents"),
}


def measure(cohort: Cohort, name: str) -> None:
    """Run a step; print its time, and its memory beyond that of the imported packages."""
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    getattr(cohort, name)()
    took = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    memory = (after.ru_maxrss - before.ru_maxrss) / 1024
    print(
        f"{cohort.number:6d} {STEPS_OF_RULES[name][0]:38s} {took:7.1f} s  CPU {cpu:6.1f} s"
        f"  {memory:6.0f} MiB",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scans", type=int, nargs="+", default=[1000, 3000, 10340])
    parser.add_argument("--folder", type=Path, help="on the disk to measure; a new one below it")
    arguments = parser.parse_args()
    logging.disable()
    for number in arguments.scans:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as root:
            cohort = Cohort(Path(root), number)
            for name, (_, prepare) in STEPS_OF_RULES.items():
                if prepare:
                    getattr(cohort, prepare)()
                child = multiprocessing.get_context("spawn").Process(
                    target=measure, args=(cohort, name)
                )
                child.start()
                child.join()
                if child.exitcode:
                    raise SystemExit(f"{name} failed ({child.exitcode})")


if __name__ == "__main__":
    main()
