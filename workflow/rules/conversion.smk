"""Raw ADNI download, or BIDS data sets, to one BIDS data set with every image accounted for."""


rule study_tables:
    input:
        tables=download("tables"),
    output:
        tables=directory(results("cohort/tables")),
        provenance=results("cohort/tables.tsv"),
        exclusions=results("cohort/held_back.tsv"),
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


rule check_download:
    input:
        images=download("images"),
        tables=rules.study_tables.output.tables,
        exclusions=rules.study_tables.output.exclusions,
    output:
        images=results("cohort/images.tsv"),
        batches=expand(results("cohort/batches/batch-{batch}.tsv"), batch=BATCHES),
    log:
        logfile("check_download.log"),
    benchmark:
        timing("check_download.tsv")
    conda:
        "../../envs/ldae.yaml"
    # Reading the headers of all slices waits for the disk.
    threads: 8
    resources:
        mem_mb=growing(2000, a_thread=500),
        runtime=growing(240),
    params:
        listing=images_listing,
        source=source("conversion.plan:plan_conversion", "conversion.plan:write_plan"),
    message:
        "Checking every image of the download"
    script:
        "../scripts/check_download.py"


rule clinica_batch:
    input:
        # A new subject's folder makes the image folder newer, but the batch says what is in it.
        images=ancient(download("images")),
        tables=rules.study_tables.output.tables,
        batch=results("cohort/batches/batch-{batch}.tsv"),
    output:
        conversion=results(f"cohort/parts/{ADNI}-{{batch}}.tsv"),
    log:
        logfile("clinica_batch/{batch}.log"),
    benchmark:
        timing("clinica_batch/{batch}.tsv")
    wildcard_constraints:
        batch=r"\d+",
    conda:
        "../../envs/clinica.yaml"
    threads: config["cohort"]["convert_jobs"]
    resources:
        mem_mb=growing(0, a_thread=2000),
        runtime=growing(480),
    params:
        # Not an output: a batch of which nothing has changed is kept.
        part=results(f"bids_parts/{ADNI}-{{batch}}"),
        cohort=ADNI,
        clinica_bin=config["software"]["clinica_bin"],
        source=source("conversion.batch:convert_batch"),
    message:
        "Converting batch {wildcards.batch} to BIDS with Clinica"
    script:
        "../scripts/clinica_batch.py"


rule bids:
    input:
        parts=parts(),
        images=rules.check_download.output.images if FROM_DOWNLOAD else [],
    output:
        bids=directory(results("bids")),
        conversion=results("cohort/conversion.tsv"),
        download=results("cohort/download.json"),
    log:
        logfile("bids.log"),
    benchmark:
        timing("bids.tsv")
    conda:
        "../../envs/ldae.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(120),
    params:
        names=PARTS,
        folder=results("bids_parts"),
        cohort=ADNI,
        sources=sources(),
        source=source("conversion.merge:merge_parts", "conversion.merge:remove_stale"),
    message:
        "Merging the parts to one BIDS data set"
    script:
        "../scripts/bids.py"


# A rule of its own: what fails loses its outputs, and the table of conversions must stay.
rule conversion_check:
    input:
        conversion=rules.bids.output.conversion,
    output:
        counts=results("cohort/conversion.json"),
    log:
        logfile("conversion_check.log"),
    benchmark:
        timing("conversion_check.tsv")
    conda:
        "../../envs/ldae.yaml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        max_failed_fraction=config["cohort"]["max_failed_fraction"],
        source=source("cohort.inclusion:check_conversion"),
    message:
        "Comparing failed conversions with the limit"
    script:
        "../scripts/conversion_check.py"
