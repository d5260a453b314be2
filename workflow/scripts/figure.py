"""Drawing of one figure from tables and arrays."""

from _adapter import job

with job(snakemake):
    from ldae.figures.registry import draw

    inputs = {
        name: files if isinstance(files, str) else list(files)
        for name, files in snakemake.input.items()
    }
    inputs |= snakemake.params.folders
    draw(snakemake.params.figure, inputs, dict(snakemake.output.items()), snakemake.params.settings)
