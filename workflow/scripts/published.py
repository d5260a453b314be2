"""The authors' published weights as the model folders of the three trainings."""

from _adapter import job

with job(snakemake):
    from ldae.files import read_json
    from ldae.nets.published import convert
    from ldae.nets.published_model import PARTS

    convert(
        **{part: snakemake.input[part] for part in PARTS},
        out=snakemake.params.out,
        volumes=f"{snakemake.params.stores}/volumes",
        told=read_json(snakemake.input.settings),
    )
