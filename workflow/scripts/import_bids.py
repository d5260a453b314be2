"""Import of a BIDS data set: links to its images, and its tables with the workflow's columns."""

import logging

from _adapter import job

with job(snakemake):
    from ldae.conversion.import_bids import import_bids, write_refused
    from ldae.errors import UserError

    bids_dir, part = snakemake.input.bids_dir, snakemake.params.part
    conversion, name = snakemake.output.conversion, snakemake.wildcards.cohort
    try:
        import_bids(
            bids_dir,
            name,
            part_dir=part,
            conversion=conversion,
            jobs=snakemake.threads,
            **snakemake.params.settings,
        )
    except UserError as error:
        # A bad external test set ends its own rows, not the run; any other data set ends the run.
        if not snakemake.params.external:
            raise
        logging.error("%s is left out as an external test set: %s", name, error)
        write_refused(name, str(error), bids_dir, part, conversion)
