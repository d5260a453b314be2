"""The authors' published weights as the model folders of the three trainings."""

from _adapter import folder, job

with job(snakemake):
    from ldae.nets.published import convert
    from ldae.nets.published_model import PARTS

    convert(
        **{part: snakemake.input[part] for part in PARTS},
        out=snakemake.params.out,
        volumes=folder(snakemake.input.volumes),
    )
