"""Decisions of people on scans, from the files of their ratings."""

from _adapter import job

with job(snakemake):
    from ldae.cohort.ratings import (
        decisions_of,
        joined_ratings,
        known_scans,
        read_all_ratings,
    )
    from ldae.files import read_table, write_table

    source, params = snakemake.input, snakemake.params
    conversion = read_table(source.conversion, ["scan_id"])
    known = known_scans(read_table(source.scans, ["scan_id"]), conversion)
    ratings = read_all_ratings(params.files, known)
    write_table(decisions_of(ratings, params.rule), snakemake.output.decisions)
    joined = joined_ratings(ratings, params.files)
    write_table(joined.replace("", None), snakemake.output.ratings)
