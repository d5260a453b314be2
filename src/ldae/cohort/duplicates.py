"""Scans whose voxels are the same: one image that was delivered twice."""

import pandas as pd

COLUMNS = ["scan_id", "duplicate_of", "reason"]


def find_duplicates(scans: pd.DataFrame) -> pd.DataFrame:
    """List the scans that must be left out since their voxels are another scan's, value by value.

    Of one subject's equal scans the earliest session stays. Equal scans of two subjects are all
    out: whose brain it is cannot be known, and one brain must not be on two sides of the split.

    Args:
        scans: Columns scan_id, participant_id, months, image_hash.

    Returns:
        Columns ``COLUMNS``, sorted by scan_id; duplicate_of names the scan that stays or, across
        subjects, all others with the same voxels, separated by commas.
    """
    rows = []
    for _, group in scans.sort_values(["months", "scan_id"]).groupby("image_hash"):
        names = group["scan_id"].tolist()
        if group["participant_id"].nunique() > 1:
            subjects = ", ".join(sorted(set(group["participant_id"])))
            reason = f"The same voxels under {subjects}: whose they are is unknown."
            rows += [(name, ",".join(sorted({*names} - {name})), reason) for name in names]
        else:
            reason = f"The same voxels as {names[0]}, the earliest session, which stays."
            rows += [(name, names[0], reason) for name in names[1:]]
    return pd.DataFrame(rows, columns=COLUMNS).sort_values("scan_id").reset_index(drop=True)
