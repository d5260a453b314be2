#!/usr/bin/env bash
# clinica 0.12.0: adni-to-bids gives people the APOE genotype of others.
#
# participants.tsv is made column by column (converters/_utils.py, create_participants_df): the
# values of a table are put below each other in the order of its rows, and columns of different
# tables are never joined by subject. All columns come from ADNIMERGE, which has a row a visit, but
# apoe_gen1 and apoe_gen2, which come from APOERES, with a row a subject. Afterwards one row of each
# subject is kept. So the second subject of ADNIMERGE gets the genotype in that row of APOERES which
# follows as many rows as the first subject has visits. apoe4, the number of e4 alleles, is of ADNIMERGE and
# right, so that one table contradicts itself. There is no warning.
#
# Below, three made-up people have three visits each, in both tables in the same order; their
# genotypes are 3/3, 4/4 and 2/3, those of three others without images 2/2, 3/4 and 2/4. Seen on
# 2026-11-30: 3/3 (right), 2/2 and n/a, where apoe4 is 0, 2 and 0.
#
# Fails if the second person gets its own genotype.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
# Without the dependencies that this function does not import (VTK and others, 2 GB).
"$work/env/bin/python" -m pip install -q --no-deps "clinica==0.12.0"
"$work/env/bin/python" -m pip install -q "pandas==2.3.3" "numpy==1.26.4" "nibabel==5.4.2" \
    "nilearn==0.14.1" "fsspec==2026.9.0" "attrs==26.1.0" "cattrs==26.2.1" "click==8.5.1" \
    "click-option-group==0.5.9" "colorlog==5.0.1" "packaging==26.3" "pydicom==3.0.2" \
    "rich==15.0.0"
cd "$work"
"$work/env/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version
from pathlib import Path

import clinica
import pandas as pd
from clinica.converters._utils import create_participants_df

genotypes = {2: "3/3", 3: "4/4", 5: "2/3", 7: "2/2", 8: "3/4", 9: "2/4"}
people = {rid: f"011_S_{rid:04d}" for rid in genotypes}
tables = Path("tables")
tables.mkdir()
specifications = Path(clinica.__file__).parent / "converters/adni_to_bids/specifications"
asked = pd.read_csv(specifications / "participant.tsv", sep="\t")
merged = asked.loc[asked["ADNI location"] == "ADNIMERGE.csv", "ADNI"]
visits = pd.DataFrame(
    [
        dict.fromkeys(merged, 1) | {
            "RID": rid, "PTID": people[rid], "VISCODE": visit, "PTGENDER": "Female",
            "DX_bl": "CN", "APOE4": genotypes[rid].count("4"),
        }
        for rid in (2, 3, 5) for visit in ("bl", "m06", "m12")
    ]
)
visits.to_csv(tables / "ADNIMERGE.csv", index=False)
pd.DataFrame(
    {"RID": genotypes.keys(), "PTID": people.values(), "GENOTYPE": genotypes.values()}
).to_csv(tables / "APOERES.csv", index=False)

bids_ids = [f"sub-ADNI{people[rid].replace('_', '')}" for rid in (2, 3, 5)]
found = create_participants_df("ADNI", specifications, tables, bids_ids)
found["genotype"] = found["apoe_gen1"].astype(str) + "/" + found["apoe_gen2"].astype(str)
found["own"] = [genotypes[int(rid)] for rid in found["adni_rid"]]
print("clinica", version("clinica"))
print(found[["participant_id", "adni_rid", "apoe4", "genotype", "own"]].to_string(index=False))
if found["genotype"].iloc[1] == found["own"].iloc[1]:
    sys.exit("The second person has its own genotype.")
if not (found["apoe4"].tolist() == [0, 2, 0] and found["genotype"].iloc[1] == "2/2"):
    sys.exit("Other values than those that were seen.")
PYTHON
