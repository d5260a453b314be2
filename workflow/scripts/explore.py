"""Explorer: volumes of a few test people along the models' codes, and the page that shows them."""

from _adapter import folder, job, load_system_and_settings

with job(snakemake):
    from ldae.explorer.build import build_explorer

    system, settings = load_system_and_settings(snakemake)
    build_explorer(
        system,
        folder(snakemake.input.volumes),
        snakemake.input.embeddings,
        snakemake.input.classifier,
        snakemake.input.age_regressor,
        snakemake.input.training,
        snakemake.input.manipulation,
        snakemake.input.get("counterfactuals") or None,
        snakemake.output.page,
        cfg=settings,
        people=snakemake.params.explorer["people_per_class"],
        samples=snakemake.params.samples,
        megabytes=snakemake.params.explorer["megabytes"],
    )
