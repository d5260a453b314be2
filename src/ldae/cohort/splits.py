"""Splits by subject (section 4.2 of the paper): stratified by diagnosis, and frozen in a file.

Within a stratum the splits are filled by quota in the order in which subjects arrive. The split of
a subject therefore depends on the subjects before it. The frozen file fixes the split when others
come or go, or when the diagnosis changes. Keep and share that file: the seed is not enough.

A data set with a role of its own (``cohort.beside.NAME.role``) is not drawn: all its subjects are
in ``train``, or in ``external``, to which nothing is fitted and by which nothing is chosen.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from ldae.delimited import read_tsv
from ldae.errors import UserError, require
from ldae.files import digest, read_table, write_table

SPLITS = ("train", "val", "test")
EXTERNAL = "external"  # split of the external test sets, which the cohort's own test set is not
OF_ROLE = {"train": "train", "test": EXTERNAL}
FROZEN = ["participant_id", "stratum", "split"]
UNKNOWN = "unknown"


def splits_of(table: pd.DataFrame) -> list[str]:
    """The splits that tables have columns or rows of: the three, and ``external`` if there is one.

    Args:
        table: Column split.
    """
    return [*SPLITS, *([EXTERNAL] if (table["split"] == EXTERNAL).any() else [])]


def strata(scans: pd.DataFrame) -> pd.DataFrame:
    """Stratum of each subject: its cohort and its first known diagnosis.

    Args:
        scans: Rows of scans.tsv: participant_id, months, diagnosis, cohort.

    Returns:
        Columns participant_id, stratum (``ADNI/MCI``, ``ADNI/unknown``); sorted by participant_id.
    """
    first = scans.sort_values(["participant_id", "months"]).groupby("participant_id")
    subjects = first[["cohort", "diagnosis"]].first()  # the first that is not n/a
    stratum = subjects["cohort"] + "/" + subjects["diagnosis"].fillna(UNKNOWN).astype(str)
    return stratum.rename("stratum").reset_index()


def split_by_role(
    subjects: pd.DataFrame, roles: Mapping[str, str], given: str | Path | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Set the subjects of data sets with a role apart from those whose split is drawn.

    Their split follows from the configuration alone. It is not frozen: a data set that has its role
    no more gets back the splits that it had.

    Args:
        subjects: participant_id and stratum, from :func:`strata`.
        roles: Data set to ``train``, ``test`` or ``both``; cohorts that are absent have ``both``.
        given: Table participant_id, split (``cohort.splits.given``).

    Returns:
        The subjects to draw, columns of ``subjects``; and participant_id, split of the others.

    Raises:
        UserError: ``given`` puts a subject into another split than its data set's role.
    """
    role = subjects["stratum"].str.split("/").str[0].map(roles)
    splits = role.map(OF_ROLE)
    fixed = subjects[["participant_id"]].assign(split=splits)[splits.notna()]
    if given and len(fixed):
        listed = read_tsv(given, ["participant_id", "split"])
        both = fixed.merge(listed, on="participant_id", suffixes=("", "_given"))
        torn = both[both["split"] != both["split_given"]]
        require(
            torn.empty,
            f"{given} (cohort.splits.given) puts {len(torn)} subject(s) into another split than "
            f"the role of their data set (cohort.beside.NAME.role), such as "
            f"{next(iter(torn['participant_id']), '')}. Remove these rows, or the role.",
        )
    return subjects[splits.isna()], fixed


def make_splits(
    subjects: pd.DataFrame,
    test_fraction: float,
    val_fraction: float,
    seed: int,
    frozen: str | Path,
    given: str | Path | None = None,
) -> pd.DataFrame:
    """Assign each subject to a split, permanently.

    A subject in the frozen file keeps its split, which ``given`` may not contradict. A new subject
    takes its split from ``given``. The others are drawn in the order of a hash of seed and
    identifier, and fill the quotas of their stratum. Of n subjects, n ``test_fraction`` are test
    subjects, rounded up or down; the validation quota applies to the rest. Subjects that ``given``
    does not name make up for its deviations from the quotas.

    Args:
        subjects: participant_id, stratum; one row for each present subject.
        test_fraction: Fraction of subjects in the test split.
        val_fraction: Fraction of the remaining subjects in the validation split.
        seed: Another seed gives other splits.
        frozen: Folder of the frozen files, one for each choice of fractions and seed: restored
            settings find their splits again. Rows are only appended.
        given: Table participant_id, split to start from; rows added later apply to subjects that
            have no split yet.

    Returns:
        Columns participant_id, split; the present subjects, sorted by participant_id.

    Raises:
        UserError: a split is empty (nothing is frozen then; the message names the config key to
            change), a table is invalid, or ``given`` contradicts the frozen file.
    """
    fixed = _read_given(given, subjects) if given else {}
    settings = [float(test_fraction), float(val_fraction), seed]
    path = Path(frozen) / f"splits-{digest(settings)}.tsv"
    known = _read_frozen(path)
    _require_agreement(known, path, fixed, given)
    new = subjects[~subjects["participant_id"].isin(known["participant_id"])]
    drawn = pd.concat(
        [
            _draw(
                arrivals,
                Counter(known.loc[known["stratum"] == stratum, "split"]),
                fixed,
                (test_fraction, val_fraction),
                f"{seed}",
            )
            for stratum, arrivals in new.groupby("stratum")
        ]
        or [new.assign(split="")]
    )
    whole = pd.concat([known, drawn[FROZEN]], ignore_index=True)
    table = whole[whole["participant_id"].isin(subjects["participant_id"])]
    table = table.sort_values("participant_id", ignore_index=True)[["participant_id", "split"]]
    _require_all_splits(table, test_fraction, val_fraction, seed)
    if len(drawn):
        write_table(whole, path)
    return table


def _draw(
    arrivals: pd.DataFrame,
    splits: Counter,
    fixed: dict[str, str],
    fractions: tuple[float, float],
    seed: str,
) -> pd.DataFrame:
    """Splits of the new subjects of one stratum.

    ``splits`` counts the stratum's earlier subjects by split; it is updated.
    """
    stratum = arrivals["stratum"].iloc[0]
    # A random offset of each stratum rounds its quotas up or down. Without it, no small stratum
    # would have test or validation subjects.
    offsets = [_uniform(f"{seed}/{purpose}/{stratum}") for purpose in ("test", "val")]

    def wants(split: str, of: int, number: int) -> bool:
        return splits[split] < math.floor((of + 1) * fractions[number] + offsets[number])

    def order(participant: str) -> tuple[bool, float, str]:
        return participant not in fixed, _uniform(f"{seed}/{participant}"), participant

    rows = []
    for participant in sorted(arrivals["participant_id"], key=order):
        total = splits.total()
        if participant in fixed:
            split = fixed[participant]
        elif wants("test", total, 0):
            split = "test"
        else:
            split = "val" if wants("val", total - splits["test"], 1) else "train"
        splits[split] += 1
        rows.append((participant, stratum, split))
    return pd.DataFrame(rows, columns=FROZEN)


def _uniform(text: str) -> float:
    """A number in [0, 1) from the hash of a text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) / 2**64


def _read_frozen(path: Path) -> pd.DataFrame:
    if not path.is_file():
        return pd.DataFrame(columns=FROZEN, dtype=str)
    table = read_table(path, FROZEN)[FROZEN]
    _require_one_split(table, path, "Restore it from a copy: it defines the splits.")
    return table


def _read_given(path: str | Path, subjects: pd.DataFrame) -> dict[str, str]:
    """Split by participant, also of participants that are not present."""
    table = read_tsv(path, ["participant_id", "split"])
    _require_one_split(table, path, "Correct the table (cohort.splits.given).")
    present = table["participant_id"].isin(subjects["participant_id"])
    require(
        bool(present.any()),
        f"None of the {len(table)} subjects of {path} (cohort.splits.given) is in this cohort, "
        f"whose subjects are called like {next(iter(subjects['participant_id']), 'sub-...')}. "
        "Write identifiers in this form.",
    )
    return dict(zip(table["participant_id"], table["split"], strict=True))


def _require_agreement(
    known: pd.DataFrame, path: Path, fixed: dict[str, str], given: str | Path | None
) -> None:
    """Refuse a given split that differs from the subject's frozen one."""
    frozen = zip(known["participant_id"], known["split"], strict=True)
    torn = [(name, split) for name, split in frozen if fixed.get(name, split) != split]
    name, split = torn[0] if torn else ("", "")
    require(
        not torn,
        f"{given} (cohort.splits.given) puts {len(torn)} subject(s) into another split than "
        f"the frozen file {path}: {name} is {split} there, {fixed.get(name)} here. Remove "
        "these rows, or set another cohort.splits.seed, which splits all subjects anew.",
    )


def _require_one_split(table: pd.DataFrame, path: str | Path, remedy: str) -> None:
    odd = table[table["participant_id"].duplicated() | ~table["split"].isin(SPLITS)]
    named = next(iter(odd["participant_id"]), "")
    require(
        odd.empty,
        f"{path} has {named} twice, or in a split that is not {', '.join(SPLITS)}. {remedy}",
    )


def _require_all_splits(
    table: pd.DataFrame, test_fraction: float, val_fraction: float, seed: int
) -> None:
    remedies = {
        "test": f"raise cohort.splits.test_fraction ({test_fraction:g})",
        "val": f"raise cohort.splits.val_fraction ({val_fraction:g})",
        "train": "lower cohort.splits.test_fraction and cohort.splits.val_fraction "
        f"({test_fraction:g}, {val_fraction:g})",
    }
    for split, remedy in remedies.items():
        require(
            bool((table["split"] == split).any()),
            f"The {split} split has none of the {len(table)} subjects: {remedy}, add subjects, or "
            f"change cohort.splits.seed ({seed}).",
        )


def assert_disjoint(table: pd.DataFrame) -> None:
    """Refuse a table of subjects or scans that has a subject, or an image, in two splits.

    Args:
        table: Columns participant_id, split and optionally image_hash (checked if present); any
            number of rows a subject.

    Raises:
        UserError: a subject or image is in two splits, or a split is unknown.
    """
    known = (*SPLITS, EXTERNAL)
    unknown = sorted(set(table["split"].fillna("n/a")) - set(known))
    if unknown:
        raise UserError(f"Unknown split(s) {', '.join(unknown)}; there are {', '.join(known)}.")
    torn = _torn(table, "participant_id")
    if len(torn):
        raise UserError(
            f"{len(torn)} subject(s) are in two splits, such as {torn.index[0]} "
            f"({' and '.join(torn.iloc[0])}): models would be tested on subjects of their "
            "training. Make the splits again."
        )
    torn = _torn(table, "image_hash") if "image_hash" in table else []
    if len(torn):
        same = table.loc[table["image_hash"] == torn.index[0], "participant_id"].unique()
        raise UserError(
            f"{len(torn)} image(s) are in two splits under different names, such as "
            f"one of {' and '.join(same)} ({' and '.join(torn.iloc[0])}): models would be tested "
            "on images of their training. Exclude all scans of one of the two (cohort.exclude)."
        )


def _torn(table: pd.DataFrame, column: str) -> pd.Series:
    """Values of ``column`` in more than one split, with these splits; n/a is ignored."""
    splits = table.groupby(column)["split"].agg(lambda split: sorted(set(split)))
    return splits[splits.map(len) > 1]
