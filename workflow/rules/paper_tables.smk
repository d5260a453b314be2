"""Tables 5, 6 and 7 of the paper: each number with its interval and the paper's value."""

# Model cards by name, each once.
CARDS = {
    stage: path
    for about in TRAINED_SYSTEMS.values()
    for stage, path in about["models"].items()
    if stage != "embeddings"
}


rule tables_paper:
    input:
        **EXTERNAL_TABLES,
        scans=[
            results(with_system("evaluation/reconstruction_scans", system, ".tsv"))
            for system in TRAINED_SYSTEMS
        ],
        sizes=[
            results(with_system("evaluation/model_sizes", system, ".tsv"))
            for system in TRAINED_SYSTEMS
        ],
        timings=[
            results(with_system("tables/inference", system, ".tsv"))
            for system in TRAINED_SYSTEMS
        ],
        models=list(CARDS.values()),
        probes=rules.probes.output.table,
    output:
        **{
            f"table{number}_{form}": results(f"tables/table{number}.{form}")
            for number in (5, 6, 7)
            for form in ("tsv", "md", "tex")
        },
        numbers=results("tables/reconstruction_systems.tsv"),
    log:
        logfile("tables_paper.log"),
    benchmark:
        timing("tables_paper.tsv")
    conda:
        "../../envs/ldae.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
    params:
        seed=config["seed"],
        resamples=config["evaluation"]["bootstrap"],
        external=list(EXTERNAL_TABLES),
        reference=MAIN_COHORT,
        source=source("report.tables.paper:write_tables"),
    message:
        "Writing Tables 5, 6 and 7, beside the paper's values"
    script:
        "../scripts/tables_paper.py"
