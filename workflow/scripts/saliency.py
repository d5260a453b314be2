"""Maps of what of a scan the diagnosis is read from, and checks of them."""

from _adapter import folder, job

with job(snakemake):
    from ldae.evaluation.saliency.evaluate import evaluate_saliency

    evaluate_saliency(
        folder(snakemake.input.model),
        folder(snakemake.input.volumes),
        snakemake.input.classifier,
        {name: snakemake.input[name] for name in ("grey", "white")},
        snakemake.input.counterfactuals or None,
        dict(snakemake.output.items()),
        snakemake.params.settings,
        snakemake.config["device"],
        snakemake.threads,
        snakemake.params.seed,
    )
