"""Reset of failed scans and conversions (retry), or of scans by name (redo), for the next run."""

from _adapter import job

with job(snakemake):
    from ldae.errors import require
    from ldae.orchestration.rerun import reset_failed, reset_scans

    if snakemake.rule == "retry":
        print("\n".join(reset_failed(snakemake.params.results)))
        print("The next run retries them.")
    else:
        scan = snakemake.params.scan
        require(scan is not None, "Name the scan: snakemake redo --config scan=sub-..._ses-...")
        scans = [scan] if isinstance(scan, str) else scan
        reset_scans(snakemake.params.results, scans)
        print(f"The next run preprocesses {', '.join(scans)} again.")
