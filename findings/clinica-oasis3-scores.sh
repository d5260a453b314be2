#!/usr/bin/env bash
# clinica 0.12.0: oasis3-to-bids gives a scan the diagnosis and scores of another person.
#
# The converter joins clinical visits to scans by the half-year since entry alone
# (oasis3_to_bids/_utils.py, _merge_clinical_scores: merge(..., on="session")), not by the person,
# and then keeps the first row of each session. Whoever comes first in the table of clinical visits
# with a visit in that half-year gives everybody's values: MMSE, CDR, dx1, memory, judgment, ...
# It ends with status 0 and without a warning.
#
# Below, two made-up people are each seen at day 120 and scanned at day 129: one is cognitively
# normal (MMSE 30, CDR 0), the other has AD dementia (MMSE 15, CDR 2). Seen on 2026-11-29: both get
# MMSE 15, CDR 2 and "AD Dementia".
#
# Fails if the second person gets values of its own.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
# Without the dependencies that this converter does not import (VTK and others, 2 GB).
"$work/env/bin/python" -m pip install -q --no-deps "clinica==0.12.0"
"$work/env/bin/python" -m pip install -q "pandas==2.3.3" "numpy==2.3.5" "nibabel==5.4.2" \
    "nilearn==0.14.1" "fsspec==2026.9.0" "attrs==26.1.0" "cattrs==26.2.1" "click==8.5.1" \
    "click-option-group==0.5.9" "colorlog==5.0.1" "packaging==26.3" "pydicom==3.0.2" \
    "rich==15.0.0"
cd "$work"
"$work/env/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from clinica.converters.oasis3_to_bids import convert

images, tables, bids = Path("images"), Path("tables"), Path("bids")
tables.mkdir()
people = {"OAS30001": (15, 2, "AD Dementia"), "OAS30002": (30, 0, "Cognitively normal")}
for subject in people:
    place = images / f"{subject}_MR_d0129/anat1"
    place.mkdir(parents=True)
    image = nib.Nifti1Image(np.ones((4, 4, 4), np.int16), np.eye(4))
    nib.save(image, place / f"sub-{subject}_ses-d0129_T1w.nii.gz")
pd.DataFrame(
    [[subject, 70.0, 1, 12, "R", 33] for subject in people],
    columns=["OASISID", "AgeatEntry", "GENDER", "EDUC", "HAND", "APOE"],
).to_csv(tables / "OASIS3_demographics.csv", index=False)
keys = ["OASISID", "days_to_visit", "age at visit"]
visits = [[subject, day, 70.0] for subject in people for day in (0, 120)]
pd.DataFrame(visits, columns=keys).to_csv(tables / "OASIS3_UDSb1_physical_eval.csv", index=False)
scores = ["commun", "homehobb", "judgment", "memory", "orient", "perscare", "CDRSUM"]
rows = [[*visit, *people[visit[0]], *[people[visit[0]][1]] * len(scores)] for visit in visits]
pd.DataFrame(rows, columns=[*keys, "MMSE", "CDRTOT", "dx1", *scores]).to_csv(
    tables / "OASIS3_UDSb4_cdr.csv", index=False
)
columns = ["label", "Manufacturer", "ManufacturersModelName", "MagneticFieldStrength"]
pd.DataFrame([["OAS30001_MR_d0129", "x", "x", 3]], columns=columns).to_csv(
    tables / "OASIS3_MR_json.csv", index=False
)
convert(images, bids, tables)
found = {}
for subject, truth in people.items():
    row = pd.read_csv(bids / f"sub-{subject}/sub-{subject}_sessions.tsv", sep="\t").iloc[0]
    found[subject] = (int(row["mmse"]), int(row["cdr"]), row["dx1"])
    print(f"clinica {version('clinica')}  {subject}  table: {truth}  BIDS: {found[subject]}")
if found != dict.fromkeys(people, people["OAS30001"]):
    sys.exit("oasis3-to-bids does otherwise now")
PYTHON
echo "as described"
