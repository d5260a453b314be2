"""BIDS data sets that others made: a part each, which rule bids merges with ADNI's."""


rule import_bids:
    input:
        bids_dir=dataset_folder,
    output:
        conversion=results("cohort/parts/{cohort}.tsv"),
    log:
        logfile("import_bids/{cohort}.log"),
    benchmark:
        timing("import_bids/{cohort}.tsv")
    # A batch of the conversion is NAME-NUMBER; names have no hyphen.
    wildcard_constraints:
        cohort="|".join(DATASETS) or "(?!)",
    conda:
        "../../envs/ldae.yaml"
    threads: config["cohort"]["convert_jobs"]
    resources:
        mem_mb=growing(2000, a_thread=1000),
        runtime=growing(240),
    params:
        part=results("bids_parts/{cohort}"),
        listing=dataset_listing,
        settings=dataset("columns", "values", "prefix", "section", "space"),
        source=source("conversion.import_bids:import_bids"),
    message:
        "Importing the BIDS data set {wildcards.cohort}"
    script:
        "../scripts/import_bids.py"
