"""ADNI's study tables as they are downloaded today, turned into what Clinica accepts."""


rule study_tables:
    input:
        tables=download("tables"),
    output:
        tables=directory(results("cohort/tables")),
        provenance=results("cohort/tables.tsv"),
        held_back=results("cohort/held_back.tsv"),
    log:
        logfile("study_tables.log"),
    benchmark:
        timing("study_tables.tsv")
    conda:
        "../../envs/ldae.yaml"
    resources:
        mem_mb=growing(8000),
        runtime=growing(30),
    params:
        listing=table_files,
        source=source("conversion.prepare_tables:prepare_tables"),
    message:
        "Checking and converting the study tables"
    script:
        "../scripts/study_tables.py"
