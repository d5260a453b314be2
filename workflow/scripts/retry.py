"""Let failed scans and failed conversions be tried again."""

from _adapter import job

with job(snakemake):
    from ldae.orchestration.rerun import try_again

    print("\n".join(try_again(snakemake.params.results)))
    print("The next run tries them again.")
