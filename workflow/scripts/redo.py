"""Let one scan, or several, be preprocessed again."""

from _adapter import job

with job(snakemake):
    from ldae.errors import require
    from ldae.orchestration.rerun import redo

    scan = snakemake.params.scan
    require(scan is not None, "Name the scan: snakemake redo --config scan=sub-..._ses-...")
    scans = [scan] if isinstance(scan, str) else scan
    redo(snakemake.params.results, scans)
    print(f"The next run preprocesses {', '.join(scans)} again.")
