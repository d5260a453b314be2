"""Study tables of a small synthetic download in both forms, which tests prepare and edit."""

import pandas as pd

from ldae.conversion.clinica_tables import read_clinica_tables
from ldae.conversion.prepare_tables import prepare_tables
from ldae.conversion.study_tables import find_files
from ldae.files import read_table
from ldae.synthetic import tables as synthetic
from ldae.synthetic.download import _mprage_rows, _quality_rows, plan_images
from ldae.synthetic.subjects import draw_cohort

MAYO = "MAYOADIRL_MRI_IMAGEQC_05_07_15"
ADNI1, ADNI2, ADNI3 = "991_S_0101", "994_S_4103", "997_S_6105"
PEOPLE = draw_cohort(6, 2, seed=1)


def make_downloads(root):
    """The study tables of ``PEOPLE`` in folders clinica and today; returns ``root``."""
    plan = [image for person in PEOPLE for image in plan_images(person)]
    for form in synthetic.FORMS:
        rows = _mprage_rows(plan), _quality_rows(plan)
        synthetic.write_tables(root / form, PEOPLE, 1, *rows, form)
    return root


def prepare(folder, out):
    """Prepare tables; returns them, the record of each by name, and excluded scans by image."""
    prepare_tables(folder, out / "tables", out / "tables.tsv", out / "held_back.tsv")
    excluded = read_table(out / "held_back.tsv", ["image_id", "status", "reason"])
    records = read_table(out / "tables.tsv").set_index("table")
    return read_clinica_tables(out / "tables"), records, excluded.set_index("image_id")


def edit(folder, stem, change):
    """Change one table; ``change`` gets it and may return another."""
    (path,) = find_files(folder, stem)
    table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    changed = change(table)
    (table if changed is None else changed).to_csv(path, index=False)


def put(rows, column, value):
    """A change for :func:`edit`: one value in the rows that ``rows`` picks."""
    return lambda table: table.__setitem__(column, table[column].mask(rows(table), value))
