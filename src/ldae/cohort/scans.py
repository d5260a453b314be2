"""Scan table: every scan of the BIDS folder with the clinical data of its visit.

Scans with the same voxels are one image that was delivered twice; such duplicates are left out.
"""

from collections.abc import Collection
from pathlib import Path

import jsonschema
import pandas as pd
import yaml

from bids import BIDSLayout, BIDSLayoutIndexer
from ldae.derivatives import Shards
from ldae.errors import UserError, require
from ldae.files import read_table

DUPLICATE_COLUMNS = ["scan_id", "duplicate_of", "reason"]
COLUMNS = [
    "scan_id", "participant_id", "session_id", "months", "path", "diagnosis", "age", "sex", "mmse",
    "cdr_global", "apoe4", "field_strength", "image_id", "shard", "cohort", "image_hash",
]  # fmt: skip
# Column of the scan table -> column of sessions.tsv (Clinica's names, also for imports).
_OF_VISIT = {
    "months": "months", "diagnosis": "diagnosis", "age": "age", "mmse": "MMSE",
    "cdr_global": "cdr_global",
}  # fmt: skip
_OF_SUBJECT = ("sex", "apoe4")
_OF_IMAGE = ("cohort", "image_id", "field_strength", "image_hash")
_NUMBERS = ("age", "mmse", "cdr_global", "apoe4", "field_strength")  # n/a is NaN


def find_duplicates(scans: pd.DataFrame, external: Collection[str] = ()) -> pd.DataFrame:
    """List the scans to leave out because another scan has the same voxels, value by value.

    Of one subject's equal scans the earliest session stays. Equal scans of two subjects are all
    left out: whose brain it is cannot be known, and one brain must not be in two splits. An
    external test set takes nothing from the other cohorts: a subject of it with a scan that they
    have as well is left out with all its scans, since it may be a person of the training.

    Args:
        scans: Columns scan_id, participant_id, months, image_hash, and cohort if ``external`` is
            not empty.
        external: Cohorts that are external test sets.

    Returns:
        Columns ``DUPLICATE_COLUMNS``, sorted by scan_id; duplicate_of names the scan that stays
        or, across subjects, all others with the same voxels, separated by commas.
    """
    rows = []
    if external:
        rows = _shared_subjects(scans, scans["cohort"].isin(list(external)))
        scans = scans[~scans["scan_id"].isin([name for name, *_ in rows])]
    for _, group in scans.sort_values(["months", "scan_id"]).groupby("image_hash"):
        names = group["scan_id"].tolist()
        if group["participant_id"].nunique() > 1 and group["cohort"].nunique() > 1:
            shared = scans[scans["participant_id"].isin(group["participant_id"])]
            reason = (
                f"The subject shares a scan with another cohort's ({', '.join(names)}): one person "
                "may not be on two sides of a split."
            )
            rows += [
                (name, ",".join(sorted({*names} - {name})), reason) for name in shared["scan_id"]
            ]
        elif group["participant_id"].nunique() > 1:
            subjects = ", ".join(sorted(set(group["participant_id"])))
            reason = f"The same voxels under {subjects}: whose they are is unknown."
            rows += [(name, ",".join(sorted({*names} - {name})), reason) for name in names]
        else:
            reason = f"The same voxels as {names[0]}, the earliest session, which stays."
            rows += [(name, names[0], reason) for name in names[1:]]
    found = pd.DataFrame(rows, columns=DUPLICATE_COLUMNS).drop_duplicates("scan_id")
    return found.sort_values("scan_id").reset_index(drop=True)


def _shared_subjects(scans: pd.DataFrame, outside: pd.Series) -> list[tuple[str, str, str]]:
    """Rows of the duplicates: all scans of external subjects with a scan of another cohort."""
    ours = (
        scans[~outside].groupby("image_hash")["scan_id"].agg(lambda names: ",".join(sorted(names)))
    )
    twin = scans["image_hash"].where(outside).map(ours)
    first = twin.groupby(scans["participant_id"]).first().dropna()  # of each shared subject
    rows = []
    for scan in scans.assign(twin=twin)[scans["participant_id"].isin(first.index)].itertuples():
        of = scan.twin if pd.notna(scan.twin) else first[scan.participant_id]
        rows.append((scan.scan_id, of, f"The subject is also in another cohort, with {of}: an "
                     "external test set must share nobody with the training."))  # fmt: skip
    return rows


def build_scans(
    bids: str | Path,
    conversion: pd.DataFrame,
    shards: Shards,
    preprocessed: Collection[str],
    schema: str | Path,
    external: Collection[str] = (),
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Index a BIDS folder with PyBIDS and join the rows of its tables to each scan.

    Diagnosis, age (years), MMSE and CDR are those of the scan's own visit, not of baseline. They
    are n/a where a cohort has none; such scans stay.

    Args:
        bids: BIDS folder of all cohorts.
        conversion: The conversion table: columns scan_id, status, cohort, image_id,
            field_strength, image_hash.
        shards: Shards over which subjects are spread by hash.
        preprocessed: Cohorts whose scans came preprocessed; their subjects go to other shards.
        schema: JSON schema (YAML) of one row.
        external: Cohorts that are external test sets, for :func:`find_duplicates`.

    Returns:
        The scans without duplicates, columns ``COLUMNS``, sorted by scan_id, path relative to
        ``bids``; and the duplicates, from :func:`find_duplicates`.

    Raises:
        UserError: no scan, a scan without exactly one row in a table, a value that the schema
            refuses, or nothing but duplicates.
    """
    bids = Path(bids)
    scans = _index(bids)
    participants = read_table(bids / "participants.tsv", ["participant_id", *_OF_SUBJECT])
    sessions = pd.concat([_sessions(bids, name) for name in scans["participant_id"].unique()])
    images = conversion.loc[conversion["status"] == "converted", ["scan_id", *_OF_IMAGE]]
    scans = _join(scans, participants[["participant_id", *_OF_SUBJECT]], ["participant_id"])
    scans = _join(scans, sessions, ["participant_id", "session_id"])
    scans = _join(scans, images, ["scan_id"])
    # Clinica gives the months only in the session's label.
    label = scans["session_id"].str.extract(r"^ses-M(\d+)$", expand=False)
    scans["months"] = [int(value) for value in scans["months"].fillna(label)]
    ready = scans["cohort"].isin(list(preprocessed))
    subjects = zip(scans["participant_id"], ready, strict=True)
    scans["shard"] = [shards.of_subject(name, given) for name, given in subjects]
    scans = scans[COLUMNS].sort_values("scan_id").reset_index(drop=True)
    validate_scans(scans, schema)
    duplicates = find_duplicates(scans, external)
    scans = scans[~scans["scan_id"].isin(duplicates["scan_id"])].reset_index(drop=True)
    if scans.empty:
        raise UserError(
            f"Every scan of {bids} is left out as a duplicate: {duplicates['reason'].iloc[0]} "
            "Check that the cohorts are not one data set under two names."
        )
    return scans.astype(dict.fromkeys(_NUMBERS, float)), duplicates


def validate_scans(scans: pd.DataFrame, schema: str | Path) -> None:
    """Validate every row by a JSON schema (YAML).

    Raises:
        UserError: lists the refused values by scan and column.
    """
    validator = jsonschema.Draft202012Validator(yaml.safe_load(Path(schema).read_text()))
    faults = []
    rows = scans.astype(object).where(scans.notna(), None)
    for row in rows.to_dict("records"):
        for error in validator.iter_errors(row):
            where = ".".join(map(str, error.path)) or "the row"
            faults.append(f"{row['scan_id']}: {where}: {error.message}")
    if faults:
        shown = "\n  ".join(faults[:20])
        raise UserError(
            f"{len(faults)} value(s) of the scan table are refused by {schema}:\n  {shown}\n"
            "Correct them in the study tables (ADNI) or map them (cohort.values, for a BIDS data "
            "set) and convert again."
        )


def _index(bids: Path) -> pd.DataFrame:
    """scan_id, participant_id, session_id and path of each T1-weighted image, by PyBIDS."""
    require(bids.is_dir(), f"The BIDS folder {bids} does not exist. Run the target `bids` first.")
    layout = BIDSLayout(
        bids, validate=False, indexer=BIDSLayoutIndexer(validate=False, index_metadata=False)
    )
    files = layout.get(suffix="T1w", extension=".nii.gz")
    require(bool(files), f"The BIDS folder {bids} has no T1-weighted image (*_T1w.nii.gz).")
    rows = []
    for file in files:
        subject, session = (f"sub-{file.entities['subject']}", f"ses-{file.entities['session']}")
        path = Path(file.path).relative_to(layout.root).as_posix()
        rows.append((f"{subject}_{session}", subject, session, path))
    return pd.DataFrame(rows, columns=["scan_id", "participant_id", "session_id", "path"])


def _sessions(bids: Path, participant: str) -> pd.DataFrame:
    """Read our columns of one subject's sessions.tsv; n/a where Clinica had no such table."""
    table = read_table(bids / participant / f"{participant}_sessions.tsv", ["session_id"])
    wanted = {ours: table.get(theirs) for ours, theirs in _OF_VISIT.items()}
    return pd.DataFrame(
        {"participant_id": participant, "session_id": table["session_id"], **wanted},
        columns=["participant_id", "session_id", *_OF_VISIT],
        dtype=object,
    )


def _join(scans: pd.DataFrame, table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Left join that refuses scans with no row or with two."""
    twice = table[table.duplicated(keys)]
    joined = scans.merge(table.drop_duplicates(keys), on=keys, how="left", indicator=True)
    lost = joined.loc[joined["_merge"] != "both", "scan_id"]
    wrong = sorted({*lost, *scans.merge(twice[keys], on=keys)["scan_id"]})
    if wrong:
        raise UserError(
            f"{len(wrong)} scan(s) have no row, or two, for their {' and '.join(keys)} in the "
            f"tables of the BIDS folder, such as {', '.join(wrong[:3])}. Convert again."
        )
    return joined.drop(columns="_merge")
