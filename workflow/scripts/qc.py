"""The page of quality, the quarantine's table, and what makes the folder a BIDS data set."""

from pathlib import Path

from _adapter import job

with job(snakemake):
    from ldae.cohort.manifests import lost_scans, read_manifests
    from ldae.files import read_table, write_table
    from ldae.preprocess.dataset import describe_dataset
    from ldae.preprocess.page import write_page

    paths, cfg = snakemake.input, snakemake.params.settings
    folder = Path(snakemake.output.description).parent
    manifests = read_manifests(
        {"n4": paths.n4, "brain": paths.brain, "registration": paths.registration}
    )
    describe_dataset(folder, snakemake.params.bids, cfg)
    write_table(lost_scans(manifests), snakemake.output.quarantine)
    write_page(
        read_table(paths.scans),
        manifests,
        folder,
        snakemake.params.exclude,
        snakemake.output.page,
        snakemake.output.measures,
        cfg,
    )
