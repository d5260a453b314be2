"""Splits: training, validation or test, by subject."""

from _adapter import job

with job(snakemake):
    import pandas as pd

    from ldae.cohort.splits import make_splits, split_by_role, strata
    from ldae.files import read_table, write_table

    columns = ["participant_id", "months", "diagnosis", "cohort"]
    subjects = strata(read_table(snakemake.input.scans, columns))
    settings = snakemake.params.settings
    drawn, fixed = split_by_role(subjects, snakemake.params.roles, settings["given"])
    splits = make_splits(drawn, **settings, frozen=snakemake.params.frozen)
    splits = pd.concat([splits, fixed]).sort_values("participant_id", ignore_index=True)
    write_table(splits, snakemake.output.splits)
