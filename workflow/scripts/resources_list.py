"""List of the missing resources, as text and as a table."""

from _adapter import job

with job(snakemake):
    from pathlib import Path

    from ldae.files import atomic, write_table
    from ldae.resources.staging import missing_table, missing_text
    from ldae.resources.table import load_resources

    names, folder = snakemake.params.names, Path(snakemake.params.folder)
    missing = missing_table(names, load_resources(snakemake.params.table), folder)
    write_table(missing, folder / "missing.tsv")
    with atomic(folder / "missing.txt") as temporary:
        temporary.write_text(missing_text(missing))
    print(missing_text(missing), f"\nThis list: {folder}/missing.txt and missing.tsv", sep="")
