"""Let failed scans out of quarantine."""

from _adapter import job

with job(snakemake):
    from ldae.preprocess.quarantine import release

    released = release(snakemake.params.preproc)
    print(f"{len(released)} scan(s) released: {', '.join(released) or 'none had failed'}")
    print("The next run tries them again.")
