"""Golden run: checksums of all results of a small run of every rule, and their comparison.

It shows which results a change of the code has changed:

    python tests/golden.py record before.tsv --project /path/to/a/checkout/of/before
    python tests/golden.py record after.tsv
    python tests/golden.py compare before.tsv after.tsv

Record both on one machine, because processors round differently. ``record`` copies the project's
tracked files to a new folder, runs there the configurations of ``RUNS`` (about ten minutes on two
cores) and writes one row a file. Timed, dated and fingerprinted content is excluded by name, below,
each with its reason.
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

# Rules in no run: published (the authors' files are not available here; unit tests convert files of
# the same format), and those that write no result: check, retry, redo, resources_list.
RUNS: dict[str, dict[str, Any]] = {
    # From a synthetic ADNI download to the report.
    "adni": {"files": [GOLDEN], "changes": {}, "targets": []},
    # A BIDS data set in place of a download: the one that the first run has made.
    "bids": {
        "files": [GOLDEN],
        "changes": {
            "paths": {"results": "results/golden/bids"},
            "cohort": {"name": "SITE", "bids_dir": "results/bids"},
        },
        "targets": ["results/golden/bids/cohort/splits.tsv"],
    },
    # Preprocessed input, the options of the proof, and its page.
    "proof": {
        "files": ["config/proof.yaml"],
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

# Files not compared: globs below a results folder, with the reason.
EXCLUDED_FILES = {
    "benchmarks/*": "timed",
    "logs/*": "dated and timed",
    "runs/*": "checkpoints, in folders named by fingerprint",
    "models/*/tensorboard/*": "dated",
    "tracking/*": "dated",
    "*.lock": "names a process",
    "*.snakemake_timestamp": "dated",
    "bids_parts/*/stamp.json": "a fingerprint",
    "cache/latents/rows/*": "in a folder named by fingerprint; mean.npy and std.npy hold the same",
    "tables/inference*.tsv": "timed",
    "tables/resources.tsv": "timed",
    "cohort/download.json": "where the download lies",
}
# Columns and JSON keys not compared, with the reason.
EXCLUDED_COLUMNS = {
    "models/*/history.tsv": ({"samples_per_second", "seconds", "peak_memory_mib"}, "timed"),
    "figures/training_curves.tsv": ({"samples_per_second", "seconds", "peak_memory_mib"}, "timed"),
    "preproc/manifests/*.tsv": ({"seconds"}, "timed"),
    "cohort/images.tsv": ({"content"}, "times of files"),
    "cohort/batches/*.tsv": ({"content"}, "times of files"),
}
EXCLUDED_KEYS = {"seconds": "timed", "mtime_ns": "times of files", "versions": "of this project"}
FINGERPRINT_KEYS = {"fingerprint", "source", "encoding"}  # keys, if the value matches FINGERPRINT
FINGERPRINT = re.compile(r"[0-9a-f]{16}")
# Texts whose lines with durations, dates and commits are not compared.
TEXTS = ("report/report.html", "tables/table5.*", "*proof.md")
DURATION = re.compile(
    r"\d(\.\d+)? ?(s|min|h|minutes|hours|GiB)\b|[Ss]econds|CPU-hours|mem_mb"
    r"|^\| \w+ \|.*\d \| \d\.\d+ \|$"  # hours by seed
    r"|<dt>(Date|Source)</dt>"  # of the report: day and commit
)


def record(project: Path, table: Path, cores: int, folder: Path | None) -> None:
    """Run everything in a copy of ``project`` and write the checksums of all results.

    Args:
        project: A checkout, with its environments below .venv.
        table: Output: TSV with the columns file and sha256.
        cores: Snakemake's ``--cores``.
        folder: Where to run, kept afterwards; None for a temporary folder.
    """
    with tempfile.TemporaryDirectory() as temporary:
        copy = copy_files(folder or Path(temporary) / "project", project)
        for name, run in RUNS.items():
            print(f"golden run: {name}", flush=True)
            _snakemake(copy, name, run, cores)
        write_checksums(copy / "results", table)


def write_checksums(results: Path, table: Path) -> None:
    """Write the checksums of the files below ``results``."""
    rows = []
    for path in sorted(path for path in results.rglob("*") if path.is_file()):
        name = str(path.relative_to(results))
        if _reason_excluded(name) is None:
            rows.append((name, hashlib.sha256(normalised(path, name)).hexdigest()))
    pd.DataFrame(rows, columns=["file", "sha256"]).to_csv(table, sep="\t", index=False)


def compare(before: Path, after: Path) -> list[str]:
    """Differences between two tables, one line a file."""
    one, other = (
        dict(pd.read_csv(path, sep="\t").itertuples(index=False)) for path in (before, after)
    )
    lines = [f"only in {before}: {name}" for name in one.keys() - other.keys()]
    lines += [f"only in {after}: {name}" for name in other.keys() - one.keys()]
    both = one.keys() & other.keys()
    return sorted(lines) + sorted(f"differs: {name}" for name in both if one[name] != other[name])


def normalised(path: Path, name: str) -> bytes:
    """Content of a file without what is timed, dated or fingerprinted."""
    for glob, (columns, _) in EXCLUDED_COLUMNS.items():
        if _matches(name, glob):
            table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
            return table.drop(columns=columns & set(table)).to_csv(sep="\t").encode()
    if path.suffix == ".json":
        return json.dumps(_without_excluded_keys(json.loads(path.read_text()))).encode()
    if any(_matches(name, glob) for glob in TEXTS):
        lines = path.read_text().splitlines()
        return "\n".join(line for line in lines if not DURATION.search(line)).encode()
    return path.read_bytes()


def _without_excluded_keys(content: Any) -> Any:
    if isinstance(content, dict):
        return {
            key: _without_excluded_keys(value)
            for key, value in content.items()
            if key not in EXCLUDED_KEYS
            and not (key in FINGERPRINT_KEYS and FINGERPRINT.fullmatch(str(value)))
        }
    if isinstance(content, list):
        return [_without_excluded_keys(value) for value in content]
    return content


def _reason_excluded(name: str) -> str | None:
    return next((why for glob, why in EXCLUDED_FILES.items() if _matches(name, glob)), None)


def _matches(name: str, glob: str) -> bool:
    """Whether the glob matches a file of the results or of another run's results below them."""
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
