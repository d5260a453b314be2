"""Association of every target with site, scanner and phase."""

from _adapter import folder, job

with job(snakemake):
    from ldae.evaluation.probes.joined_table import scan_list, study_table
    from ldae.evaluation.scanner.confounding import evaluate_confounding

    source, params = snakemake.input, snakemake.params
    tables = {name: {"table": source[f"table_of_{name}"]} for name in params.tables}
    for name, study in params.study_tables.items():
        tables[name] = {"table": study_table(source[f"study_tables_of_{name}"], study)}
    if source.dates:
        for name in params.dated:
            tables[name]["images"] = scan_list(source.dates)
    evaluate_confounding(
        folder(source.volumes),
        source.visits,
        source.acquisitions,
        tables,
        dict(snakemake.output.items()),
        params.settings,
        params.seed,
    )
