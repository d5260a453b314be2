"""Training, validation or test, for each subject."""

from _adapter import job

with job(snakemake):
    from ldae.cohort.splits import make_splits
    from ldae.files import read_table, write_table

    scans = read_table(snakemake.input.scans, ["participant_id"])
    settings = {key: snakemake.params[key] for key in ("test_fraction", "val_fraction", "seed")}
    write_table(make_splits(scans["participant_id"], **settings), snakemake.output.splits)
