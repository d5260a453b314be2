"""Time and memory of the targets of the probes, at the size of the paper's cohort.

    OMP_NUM_THREADS=1 PYTHONPATH=src python benchmarks/targets.py [--targets 20] [--systems 9]

Random codes of 10,340 scans of 2,300 people, some of whose directions follow a value of the person.
Targets of all five kinds are made of that value and noise. Each is probed as its job does on the
frozen split: fits of all systems, scores, differences, calibration, 2,000 resamples; in one
process, without reading and writing files, and without the rows of other splits. Printed: CPU
seconds a target by kind and by step, of all targets, and the peak memory.
"""

import argparse
import resource
import time
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from ldae.evaluation.probes.features import ProbeData
from ldae.evaluation.probes.labels import labels_of
from ldae.evaluation.probes.scores import Drawn, score_table
from ldae.evaluation.probes.summary import summarise
from ldae.evaluation.probes.target_table import make_target
from ldae.evaluation.probes.targets import regularised

CONFIG = Path(__file__).parents[1] / "config/config.yaml"
PEOPLE, SCANS, NUMBERS = 2300, 10_340, 768
KINDS = {
    "binary": {"positive": "> 0"},
    "continuous": {},
    "ordinal": {},
    "multiclass": {},
    "survival": {"time": "months"},
}


def cohort(systems: int, numbers: int, scans: int) -> tuple[ProbeData, np.ndarray]:
    """Scans, codes of all systems, and the value (N,) of each scan that the codes follow."""
    rng = np.random.default_rng(0)
    count = round(PEOPLE * scans / SCANS)
    person = np.sort(np.concatenate([np.arange(count), rng.integers(0, count, scans - count)]))
    value = rng.normal(size=count)[person] + 0.3 * rng.normal(size=scans)
    features = {}
    for name in ("ldae", *(f"other_{place}" for place in range(1, systems))):
        spread = np.exp(-np.arange(numbers) / 60)  # of the principal directions
        own = rng.normal(size=(count, numbers))[person] + 0.5 * rng.normal(size=(scans, numbers))
        turn, _ = np.linalg.qr(rng.normal(size=(numbers, numbers)))
        code = own * spread
        code[:, :20] += 0.3 * spread[:20] * value[:, None]
        features[name] = code @ turn
    split = np.where(np.arange(count) % 5 == 0, "test", "train")[person]
    table = pd.DataFrame(
        {
            "scan_id": [f"s{k:05d}" for k in range(scans)],
            "participant_id": [f"sub-{one:04d}" for one in person],
            "diagnosis": "CN",
            "split": split,
        }
    )
    return ProbeData(table, features), value


def column(kind: str, value: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    """Labels of a kind: the value and noise of its size."""
    noisy = value + rng.normal(size=len(value))
    if kind == "survival":
        months, seen = rng.exponential(36 * np.exp(-value)), rng.uniform(12, 60, len(value))
        return pd.DataFrame({"x": (months <= seen).astype(int), "months": np.minimum(months, seen)})
    if kind == "multiclass":
        return pd.DataFrame({"x": np.array(["a", "b", "c"])[np.digitize(noisy, [-0.6, 0.6])]})
    return pd.DataFrame({"x": np.digitize(noisy, [-1, 0, 1]) if kind == "ordinal" else noisy})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--targets", type=int, default=20)
    parser.add_argument("--systems", type=int, default=9)
    parser.add_argument("--numbers", type=int, default=NUMBERS)
    parser.add_argument("--scans", type=int, default=SCANS)
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    asked = parser.parse_args()
    settings = yaml.safe_load(CONFIG.read_text())["evaluation"]["probes"]
    data, value = cohort(asked.systems, asked.numbers, asked.scans)
    took: dict[str, list[list[float]]] = {kind: [] for kind in asked.kinds}
    begin = time.process_time()
    for place in range(asked.targets):
        kind = asked.kinds[place % len(asked.kinds)]
        target = make_target(f"target_{place}", {"kind": kind, "column": "x", **KINDS[kind]})
        made = column(kind, value, np.random.default_rng([1, place]))
        labels = labels_of(target, data.table.assign(**made), data.table)
        times = [time.process_time()]
        _, predicted = regularised(target, data, labels.values, labels.classes, settings, 0)
        times.append(time.process_time())
        drawn = Drawn.of(target, predicted, labels.classes, asked.resamples, 0)
        rows, _ = score_table(drawn)
        times.append(time.process_time())
        summarise(drawn, PEOPLE)
        times.append(time.process_time())
        took[kind].append(np.diff(times))
        shown = next(row for row in rows if row["metric"] == target.headline)
        print(
            f"{target.name}\t{kind}\t{target.headline} {shown['value']:.6f} "
            f"[{shown['ci_low']:.6f}, {shown['ci_high']:.6f}] penalty {shown['penalty']:g}",
            flush=True,
        )
    print("kind\tfits\tscores\tsummary\tseconds a target")
    for kind, each in took.items():
        if each:
            parts = np.mean(each, axis=0)
            print("\t".join([kind, *(f"{part:.1f}" for part in (*parts, parts.sum()))]))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{asked.targets} targets: {time.process_time() - begin:.0f} CPU s, peak {peak:.2f} GiB")


if __name__ == "__main__":
    main()
