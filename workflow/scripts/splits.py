"""Splits: training, validation or test, by subject."""

from _adapter import job

with job(snakemake):
    from ldae.cohort.splits import make_splits, strata
    from ldae.files import read_table, write_table

    columns = ["participant_id", "months", "diagnosis", "cohort"]
    subjects = strata(read_table(snakemake.input.scans, columns))
    splits = make_splits(subjects, **snakemake.params.settings, frozen=snakemake.params.frozen)
    write_table(splits, snakemake.output.splits)
