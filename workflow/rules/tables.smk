"""ADNI's study tables as they are downloaded today, turned into what Clinica accepts."""

from ldae.cohort.study_tables import tables_listing


def table_files(wildcards):
    """A param that changes when a table is edited in place (the folder's time does not).

    The synthetic download is made by a rule, which says itself when it changes.
    """
    if "synthetic" in config:
        return "made by the rule synthetic"
    return tables_listing(config["paths"]["tables"])


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
        mem_mb=8000,
        runtime=30,
    params:
        listing=table_files,
        source=source("cohort/tables.py"),
    message:
        "Checking and converting the study tables"
    script:
        "../scripts/study_tables.py"
