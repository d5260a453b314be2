"""Tables 5, 6 and 7 as TSV, Markdown and LaTeX."""

from _adapter import folder, job

with job(snakemake):
    from ldae.report.tables.paper import write_tables

    write_tables(
        snakemake.input.scans,
        snakemake.input.sizes,
        snakemake.input.timings,
        [folder(card) for card in snakemake.input.models],
        snakemake.input.probes,
        {
            name: {form: snakemake.output[f"{name}_{form}"] for form in ("tsv", "md", "tex")}
            for name in ("table5", "table6", "table7")
        },
        snakemake.output.numbers,
        snakemake.params.resamples,
        snakemake.params.seed,
        {name: snakemake.input[name] for name in snakemake.params.external},
        snakemake.params.reference,
    )
