"""A golden run: a small run of every rule as a table of checksums, and the comparison of two.

For whoever changes the code and means to change no result:

    python tests/golden.py record before.tsv --project /path/to/a/checkout/of/before
    python tests/golden.py record after.tsv
    python tests/golden.py compare before.tsv after.tsv

Both must be made on one machine: another processor rounds otherwise. ``record`` copies the
project's tracked files to a new folder, runs there the configurations of ``RUNS`` (about ten
minutes on two cores) and writes one row a file. What is timed, dated or fingerprinted is left out
by name, below, each with its reason.
"""

import argparse
import fnmatch
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

sys.path.insert(0, str(Path(__file__).parent))
from helpers.project import copy_files

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "config/golden.yaml"

# Rules that are in none of them: published (the authors' files cannot be had here; unit tests
# convert files of their form), and those that write no result: check, retry, redo, resources_list.
RUNS: dict[str, dict[str, Any]] = {
    # From a synthetic ADNI download to the report.
    "adni": {"files": ["config/demo.yaml", GOLDEN], "changes": {}, "targets": []},
    # A BIDS data set in the download's place: the one that was just made.
    "bids": {
        "files": ["config/demo.yaml", GOLDEN],
        "changes": {
            "paths": {"results": "results/golden/bids"},
            "cohort": {"name": "SITE", "bids_dir": "results/bids"},
        },
        "targets": ["results/golden/bids/cohort/splits.tsv"],
    },
    # Scans that come preprocessed, the options of the proof, its page.
    "proof": {
        "files": ["config/demo.yaml", "config/proof.yaml"],
        "changes": {
            "paths": {"results": "results/golden/proof-1"},
            "synthetic": {"subjects": 24, "visits": 3, "spacing": 4.0},
            "preprocess": {"shards": 2},
            "autoencoder": {"epochs": 1},
            "ldm": {"epochs": 2},
            "ldae": {"epochs": 2, "validate_every": 1},
            "dae": {"epochs": 1, "sample_every": 1},
            "supervised": {"epochs": 1},
            "evaluation": {
                "ddim_steps": [4, 10],
                "bootstrap": 100,
                "max_scans": 6,
                "timing_scans": 2,
                "manipulation": {"max_scans": 2, "ddim_steps": 5},
                "interpolation": {"subjects": 3, "ddim_steps": 5},
            },
            "proof": {
                "seeds": [1],
                "results": "results/golden/proof-{seed}",
                "page": "results/golden/proof.md",
                "images": "results/golden/images",
            },
        },
        "targets": ["all", "proof"],
    },
}

# Not compared: globs of files below a results folder, and why.
LEFT_OUT = {
    "benchmarks/*": "timed",
    "logs/*": "dated and timed",
    "runs/*": "checkpoints, in folders named by fingerprint",
    "models/*/tensorboard/*": "dated",
    "*.lock": "names a process",
    "*.snakemake_timestamp": "dated",
    "bids_parts/*/stamp.json": "a fingerprint",
    "cache/latents/rows/*": "in a folder named by fingerprint; mean.npy and std.npy hold the same",
    "tables/inference*.tsv": "timed",
    "tables/resources.tsv": "timed",
    "cohort/download.json": "where the download lies",
}
# Columns and keys that are not compared, and why.
COLUMNS = {
    "models/*/history.tsv": ({"samples_per_second", "seconds", "peak_memory_mib"}, "timed"),
    "figures/training_curves.tsv": ({"samples_per_second", "seconds", "peak_memory_mib"}, "timed"),
    "preproc/manifests/*.tsv": ({"seconds"}, "timed"),
    "cohort/images.tsv": ({"content"}, "times of files"),
    "cohort/batches/*.tsv": ({"content"}, "times of files"),
}
KEYS = {"seconds": "timed", "mtime_ns": "times of files", "versions": "of this project"}
FINGERPRINTS = {"fingerprint", "source", "encoding"}  # keys, where the value looks like one
FINGERPRINT = re.compile(r"[0-9a-f]{16}")
# Lines of texts that tell how long something took.
TEXTS = ("report/report.html", "tables/table5.*", "*proof.md")
DURATION = re.compile(
    r"\d(\.\d+)? ?(s|min|h|minutes|hours|GiB)\b|[Ss]econds|CPU-hours|mem_mb"
    r"|^\| \w+ \|.*\d \| \d\.\d+ \|$"  # hours by seed
)


def record(project: Path, table: Path, cores: int, folder: Path | None) -> None:
    """Run everything in a copy of ``project`` and write the checksums of all results.

    Args:
        project: A checkout, with its environments below .venv.
        table: Written: TSV with the columns file and sha256.
        cores: Of Snakemake.
        folder: Where to run; kept. None: a temporary one.
    """
    with tempfile.TemporaryDirectory() as temporary:
        copy = copy_files(folder or Path(temporary) / "project", project)
        for name, run in RUNS.items():
            print(f"golden run: {name}", flush=True)
            _snakemake(copy, name, run, cores)
        write_sums(copy / "results", table)


def write_sums(results: Path, table: Path) -> None:
    """Write the checksums of the files below ``results``."""
    rows = []
    for path in sorted(path for path in results.rglob("*") if path.is_file()):
        name = str(path.relative_to(results))
        if _reason(name) is None:
            rows.append((name, hashlib.sha256(normalised(path, name)).hexdigest()))
    pd.DataFrame(rows, columns=["file", "sha256"]).to_csv(table, sep="\t", index=False)


def compare(before: Path, after: Path) -> list[str]:
    """What differs between two tables, a line a file."""
    one, other = (
        dict(pd.read_csv(path, sep="\t").itertuples(index=False)) for path in (before, after)
    )
    lines = [f"only in {before}: {name}" for name in one.keys() - other.keys()]
    lines += [f"only in {after}: {name}" for name in other.keys() - one.keys()]
    both = one.keys() & other.keys()
    return sorted(lines) + sorted(f"differs: {name}" for name in both if one[name] != other[name])


def normalised(path: Path, name: str) -> bytes:
    """A file's bytes less what is timed, dated or fingerprinted."""
    for glob, (columns, _) in COLUMNS.items():
        if _matches(name, glob):
            table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
            return table.drop(columns=columns & set(table)).to_csv(sep="\t").encode()
    if path.suffix == ".json":
        return json.dumps(_without_fingerprints(json.loads(path.read_text()))).encode()
    if any(_matches(name, glob) for glob in TEXTS):
        lines = path.read_text().splitlines()
        return "\n".join(line for line in lines if not DURATION.search(line)).encode()
    return path.read_bytes()


def _without_fingerprints(content: Any) -> Any:
    if isinstance(content, dict):
        return {
            key: _without_fingerprints(value)
            for key, value in content.items()
            if key not in KEYS and not (key in FINGERPRINTS and FINGERPRINT.fullmatch(str(value)))
        }
    if isinstance(content, list):
        return [_without_fingerprints(value) for value in content]
    return content


def _reason(name: str) -> str | None:
    return next((why for glob, why in LEFT_OUT.items() if _matches(name, glob)), None)


def _matches(name: str, glob: str) -> bool:
    """Whether a file below the results, or below the folder of another run, is meant."""
    return fnmatch.fnmatch(name, glob) or fnmatch.fnmatch(name, f"golden/*/{glob}")


def _snakemake(project: Path, name: str, run: dict[str, Any], cores: int) -> None:
    changes = project / f"golden-{name}.yaml"
    changes.write_text(yaml.safe_dump(run["changes"]))
    command = [sys.executable, "-m", "snakemake", "--cores", str(cores), *run["targets"]]
    command += ["--rerun-triggers", "input", "mtime", "params", "software-env"]
    command += ["--configfile", *map(str, run["files"]), str(changes)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
    subprocess.run(command, cwd=project, env=environment, check=True)


def main() -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record", help="run everything and write a table of checksums")
    recording.add_argument("table", type=Path)
    recording.add_argument("--project", type=Path, default=ROOT, help="a checkout; by default this")
    recording.add_argument("--cores", type=int, default=2)
    recording.add_argument("--folder", type=Path, help="run and stay here")
    comparing = commands.add_parser("compare", help="compare two tables")
    comparing.add_argument("before", type=Path)
    comparing.add_argument("after", type=Path)
    given = parser.parse_args()
    if given.command == "record":
        record(given.project, given.table, given.cores, given.folder)
        return 0
    lines = compare(given.before, given.after)
    print("\n".join(lines) or "Nothing differs.")
    return bool(lines)


if __name__ == "__main__":
    sys.exit(main())
