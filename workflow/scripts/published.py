"""Conversion of the authors' published weights to the model folders of the three trainings."""

from _adapter import job

with job(snakemake):
    from ldae.files import read_json
    from ldae.models.published.authors_model import PARTS
    from ldae.models.published.convert import convert

    convert(
        **{part: snakemake.input[part] for part in PARTS},
        out=snakemake.params.out,
        volumes=f"{snakemake.params.stores}/volumes",
        record=read_json(snakemake.input.settings),
    )
