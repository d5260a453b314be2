"""Let one scan be preprocessed again."""

from _adapter import job

with job(snakemake):
    from ldae.errors import require
    from ldae.preprocess.quarantine import redo

    scan = snakemake.params.scan
    require(scan is not None, "Name the scan: snakemake redo --config scan=sub-..._ses-...")
    redo(snakemake.params.preproc, scan)
    print(f"The next run preprocesses {scan} again.")
