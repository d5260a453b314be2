"""Picture of the template, cut like the registered brains of the QC page."""

from pathlib import Path

from _adapter import job

with job(snakemake):
    from ldae.preprocess.qc_picture import Head, write_template
    from ldae.preprocess.resampling import load_template

    source, spacing = snakemake.input, float(snakemake.params.spacing)
    files = {"image": source.template, "mask": source.mask}
    template = load_template(files, spacing, spacing)
    shown = Head.registered(template.grid_brain, template.grid_mask)
    write_template(Path(snakemake.output.picture), shown)
