"""The demo: wall and CPU seconds by rule and in all, peak memory; and ratios to another checkout.

    python benchmarks/demo.py results [--base ../other/results]
    python benchmarks/demo.py --run HEAD --base COMMIT [--no-amx] [--repeats 2]

The first form reads finished runs. Its seconds are Snakemake's, summed over jobs; its CPU seconds
are samples: short jobs, and what a job's processes did since the last sample, are missing.

With --run, `make demo` runs in clean clones of two commits, the base first, then in turn: never two
at once, which would take each other's cores and caches. On two cores a run takes from 12 to 45
minutes. Environments are made before, outside of what is measured. CPU seconds are then those
of all processes, as the kernel counted them, and memory is that of all at one time, sampled
once a second. Ratios are new / base; only those of one sitting are meaningful. Linux only.
"""

import argparse
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import astuple, dataclass
from pathlib import Path

import pandas as pd
import psutil
import yaml

ROOT = Path(__file__).parents[1]
FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
TRAININGS = ("autoencoder", "ldm", "ldae", "dae", "supervised")  # sections of the configuration
ONEDNN_LIMIT = {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}  # everything but AMX
INTERVAL = 1.0  # s, between samples of memory
ABSENT = "-"


def processor() -> str:
    """Model, cores and those of ``FLAGS`` that it has, on one line."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    known = {key.strip(): value.strip() for key, _, value in (li.partition(":") for li in lines)}
    there = known.get("flags", "").split()
    flags = ", ".join(f"{flag} {'yes' if flag in there else 'no'}" for flag in FLAGS)
    cores = len(os.sched_getaffinity(0))
    return f"{known.get('model name', os.uname().machine)}, {cores} cores; {flags}"


def precisions(results: Path) -> str:
    """Precision of each training that has run, with what was asked for, by the models' cards."""
    found: dict[str, list[str]] = {}
    for path in sorted(results.glob("models/*/model.json")):
        card = yaml.safe_load(path.read_text())
        used = card.get("machine", {}).get("precision")
        if used:
            asked = card["config"]["precision"]
            text = used if asked == used else f"{used} ({asked} chose it)"
            found.setdefault(text, []).append(path.parent.name)
    return "; ".join(f"{text}: {', '.join(names)}" for text, names in found.items()) or "no models"


def by_rule(results: Path) -> pd.DataFrame:
    """Jobs, wall and CPU seconds by rule, most wall time first, and their sums as row ``all``.

    The last run of each job counts. All figures are one rule.
    """
    folder, rows = results / "benchmarks", []
    for path in sorted(folder.rglob("*.tsv")):
        last = pd.read_csv(path, sep="\t", na_values="-").iloc[-1]
        rule = path.relative_to(folder).with_suffix("").parts[0]
        rows.append((rule, 1, last["s"], last["cpu_time"]))
    if not rows:
        sys.exit(f"{folder} has no benchmarks: name the folder of results of a finished run.")
    table = pd.DataFrame(rows, columns=["rule", "jobs", "wall s", "CPU s"])
    table = table.groupby("rule").sum().rename_axis(None).sort_values("wall s", ascending=False)
    table.loc["all"] = table.sum()
    return table


def print_rules(runs: dict[str, Path]) -> None:
    """Print precision, and seconds by rule, of the results of ``new`` and perhaps of ``base``."""
    print()
    for name, results in runs.items():
        print(f"{name:<5}{results}: {precisions(results)}")
    parts = {name: by_rule(results) for name, results in runs.items()}
    if "base" in parts:
        seconds = ["wall s", "CPU s"]
        parts["new / base"] = parts["new"][seconds] / parts["base"][seconds].replace(0, math.nan)
    table = pd.concat(parts, axis="columns", sort=False)
    table = pd.concat([table.drop(index="all"), table.loc[["all"]]])
    digits = {"jobs": "0.0f", "wall s": "0.1f", "CPU s": "0.1f"}
    for column in table:
        form = "0.2f" if column[0] == "new / base" else digits[column[1]]
        table[column] = [ABSENT if pd.isna(x) else format(x, form) for x in table[column]]
    print(f"\n{table.to_string()}")


@dataclass
class Usage:
    """What one run took, with all its processes.

    Attributes:
        wall: Seconds, to ``INTERVAL``.
        user: CPU seconds of the processes themselves.
        system: CPU seconds of the kernel for them.
        pss: Peak memory, GiB; a page that n processes share counts for 1/n in each.
        rss: The same, with shared pages counted in each.
    """

    wall: float
    user: float
    system: float
    pss: float
    rss: float

    @property
    def cpu(self) -> float:
        return self.user + self.system


def measure(command: list[str], folder: Path, environment: dict[str, str], log: Path) -> Usage:
    """Run a command in ``folder`` to its end, its output into ``log``; exits if it fails.

    CPU seconds are those of all descendants whose parent has waited for them.
    """
    peaks, began = (0.0, 0.0), time.perf_counter()
    with log.open("w") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        while True:
            ended, status, used = os.wait4(process.pid, os.WNOHANG)
            if ended:
                break
            peaks = tuple(map(max, peaks, memory(process.pid)))
            time.sleep(INTERVAL)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed in {folder}, see {log}")
    return Usage(wall, used.ru_utime, used.ru_stime, *peaks)


def memory(pid: int) -> tuple[float, float]:
    """PSS and RSS of a process and all below it, GiB."""
    pss = rss = 0
    root = psutil.Process(pid)
    for process in [root, *root.children(recursive=True)]:
        try:
            info = process.memory_full_info()
        except psutil.NoSuchProcess:  # ended since it was listed
            continue
        pss, rss = pss + info.pss, rss + info.rss
    return pss / 2**30, rss / 2**30


class Checkout:
    """A clean clone of one commit in which the demo runs.

    Args:
        commit: Any name of it that git knows.
        folder: Where it is made.
        environments: A ``.venv`` to link, whose source the clone's own hides; None: `make env`.
        no_amx: Trainings in fp32, and oneDNN without AMX.
    """

    def __init__(self, commit: str, folder: Path, environments: Path | None, no_amx: bool):
        self.folder = folder
        sha = _git(ROOT, "rev-parse", "--verify", f"{commit}^{{commit}}")
        _git(ROOT, "clone", "--quiet", "--no-checkout", str(ROOT), str(folder))
        _git(folder, "checkout", "--quiet", sha)
        self.name = f"{commit} ({sha[:8]})"
        self.no_amx = no_amx
        self.environment = os.environ | (ONEDNN_LIMIT if no_amx else {})
        self.environment.pop("PYTHONPATH", None)  # would hide the clone's own source
        self.command = ["make", "demo"]
        if environments:
            (folder / ".venv").symlink_to(environments.resolve())
            self.environment["PYTHONPATH"] = str(folder / "src")
            self.command += ["--old-file=env"]  # not made here, whatever its age
        else:
            subprocess.run(["make", "env"], cwd=folder, check=True)

    def run(self, log: Path) -> Usage:
        """Run the demo from nothing."""
        _git(self.folder, "clean", "-ffdxq", "--exclude=.venv")
        _git(self.folder, "checkout", "--quiet", "--", ".")
        if self.no_amx:
            self._set_fp32()
        return measure(self.command, self.folder, self.environment, log)

    def _set_fp32(self) -> None:
        path = self.folder / "config/demo.yaml"
        config = yaml.safe_load(path.read_text())
        for section in TRAININGS:
            config.setdefault(section, {})["precision"] = "fp32"
        path.write_text(yaml.safe_dump(config, sort_keys=False))


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def print_usage(name: str, usage: Usage) -> None:
    """One line of the table of runs."""
    print(
        f"{name:<30}{usage.wall:>9.0f}{usage.cpu:>9.0f}{usage.user:>9.0f}{usage.system:>9.0f}"
        f"{usage.pss:>10.2f}{usage.rss:>10.2f}",
        flush=True,
    )


def run_both(names: dict[str, str], options: argparse.Namespace) -> dict[str, Path]:
    """Run the demo of the commits in turn, print what each run took and the ratios of medians.

    Args:
        names: Commits, by ``base`` and ``new``.
        options: Of the command line.

    Returns:
        Folders of results of the last run of each.
    """
    root = Path(options.folder or tempfile.mkdtemp(prefix="demos-"))
    root.mkdir(parents=True, exist_ok=True)
    print(f"below {root}; {'fp32, oneDNN without AMX' if options.no_amx else 'as configured'}")
    checkouts = {
        key: Checkout(name, root / key, options.environments, options.no_amx)
        for key, name in names.items()
    }
    print(
        f"\n{'':<30}{'wall s':>9}{'CPU s':>9}{'user s':>9}{'system s':>9}"
        f"{'PSS GiB':>10}{'RSS GiB':>10}"
    )
    took: dict[str, list[Usage]] = {key: [] for key in checkouts}
    for number in range(options.repeats):
        for key, checkout in checkouts.items():
            took[key].append(checkout.run(root / f"{key}-{number + 1}.log"))
            print_usage(f"{key} {checkout.name}", took[key][-1])
    medians = {
        key: Usage(*map(statistics.median, zip(*map(astuple, runs), strict=True)))
        for key, runs in took.items()
    }
    if "base" in medians:
        ratios = {
            title: getattr(medians["new"], kind) / getattr(medians["base"], kind)
            for title, kind in {"wall": "wall", "CPU": "cpu", "memory (PSS)": "pss"}.items()
        }
        of = ", ".join(f"{title} {ratio:.2f}" for title, ratio in ratios.items())
        print(f"new / base, medians: {of}")
    return {key: checkouts[key].folder / "results" for key in sorted(checkouts, reverse=True)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("new", help="folder of results; with --run a commit")
    parser.add_argument("--base", help="the same of what it is compared with")
    parser.add_argument("--run", action="store_true", help="clone the commits and run their demos")
    parser.add_argument("--repeats", type=int, default=1, help="runs of each, in turn")
    parser.add_argument("--no-amx", action="store_true", help="fp32, and oneDNN without AMX")
    parser.add_argument("--folder", help="where to clone; kept (a new one below /tmp)")
    parser.add_argument("--environments", type=Path, help="a .venv for both (each makes its own)")
    arguments = parser.parse_args()
    print(processor())
    named = {"base": arguments.base} if arguments.base else {}
    named["new"] = arguments.new
    if arguments.run:
        finished = run_both(named, arguments)
    else:
        finished = {key: Path(named[key]) for key in sorted(named, reverse=True)}
    print_rules(finished)
