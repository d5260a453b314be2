"""Conversion of a raw ADNI download, or import of BIDS data sets, to one BIDS data set."""


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
        change_hash=tables_change_hash,
        source=source("conversion.prepare_tables:prepare_tables"),
    message:
        "Preparing the study tables for Clinica"
    script:
        "../scripts/study_tables.py"


rule convert_study:
    input:
        images=study_folder("images"),
        tables=study_folder("tables"),
    output:
        bids=directory(results("studies/{cohort}")),
    log:
        logfile("convert_study/{cohort}.log"),
    benchmark:
        timing("convert_study/{cohort}.tsv")
    wildcard_constraints:
        cohort=one_of(STUDY_DOWNLOADS),
    conda:
        "../../envs/clinica.yaml"
    threads: config["cohort"]["convert_jobs"]
    resources:
        mem_mb=growing(4000, a_thread=2000),
        runtime=growing(480),
    params:
        change_hash=study_change_hash,
        about=lambda wildcards: STUDY_DOWNLOADS[wildcards.cohort],
        clinica_bin=config["software"]["clinica_bin"],
        source=source("conversion.study_conversion:convert_study"),
    message:
        "Converting the download of {wildcards.cohort} to BIDS with Clinica"
    script:
        "../scripts/convert_study.py"


rule import_bids:
    input:
        bids_dir=dataset_folder,
    output:
        conversion=results("cohort/parts/{cohort}.tsv"),
    log:
        logfile("import_bids/{cohort}.log"),
    benchmark:
        timing("import_bids/{cohort}.tsv")
    # A batch of the download is NAME-NUMBER; names of data sets have no hyphen.
    wildcard_constraints:
        cohort=one_of(DATASETS),
    conda:
        "../../envs/ldae.yaml"
    threads: config["cohort"]["convert_jobs"]
    resources:
        mem_mb=growing(2000, a_thread=1000),
        runtime=growing(240),
    params:
        part=results("bids_parts/{cohort}"),
        change_hash=dataset_change_hash,
        settings=dataset_settings(
            "columns",
            "values",
            "prefix",
            "section",
            "space",
            "bids_filter",
            "left_out",
        ),
        external=lambda wildcards: wildcards.cohort in EXTERNAL_COHORTS,
        source=source(
            "conversion.import_bids:import_bids",
            "conversion.import_bids:write_refused",
        ),
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
    # Reading the headers of all slices is limited by the disk, not the CPU.
    threads: 8
    resources:
        mem_mb=growing(2000, a_thread=500),
        runtime=growing(240),
    params:
        change_hash=images_change_hash,
        source=source("conversion.plan:plan_conversion", "conversion.plan:write_plan"),
    message:
        "Checking every image of the download"
    script:
        "../scripts/check_download.py"


rule downloaded_scans:
    input:
        images=rules.check_download.output.images,
        tables=rules.study_tables.output.tables,
    output:
        to_download=results("cohort/images_to_download.tsv"),
        passed_over=results("cohort/passed_over.tsv"),
    log:
        logfile("downloaded_scans.log"),
    benchmark:
        timing("downloaded_scans.tsv")
    conda:
        "../../envs/ldae.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        prefer=config["cohort"]["prefer"],
        source=source(
            "conversion.downloaded_scans:choose_downloaded",
            "conversion.downloaded_scans:write_choice",
            "conversion.clinica_tables:read_clinica_tables",
        ),
    message:
        "Comparing the scans that Clinica prefers with the images of the download"
    script:
        "../scripts/downloaded_scans.py"


rule clinica_batch:
    input:
        # ancient: a new subject makes the folder newer, but the batch lists the images to convert.
        images=ancient(download("images")),
        tables=rules.study_tables.output.tables,
        batch=results("cohort/batches/batch-{batch}.tsv"),
        passed_over=rules.downloaded_scans.output.passed_over,
    output:
        conversion=results(f"cohort/parts/{MAIN_COHORT}-{{batch}}.tsv"),
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
        # Not an output: Snakemake would delete it, but an unchanged batch is not converted again.
        part=results(f"bids_parts/{MAIN_COHORT}-{{batch}}"),
        cohort=MAIN_COHORT,
        clinica_bin=config["software"]["clinica_bin"],
        source=source("conversion.batch:convert_batch"),
    message:
        "Converting batch {wildcards.batch} to BIDS with Clinica"
    script:
        "../scripts/clinica_batch.py"


rule bids:
    input:
        parts=part_tables(),
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
        cohort=MAIN_COHORT,
        sources=sources(),
        source=source("conversion.merge:merge_parts", "conversion.merge:remove_stale"),
    message:
        "Merging all batches and data sets to one BIDS data set"
    script:
        "../scripts/bids.py"


# In a rule of its own: Snakemake deletes the outputs of a failed job, and conversion.tsv must stay.
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
        external=EXTERNAL_COHORTS,
        source=source("cohort.inclusion:check_conversion"),
    message:
        "Comparing the number of failed conversions with the limit"
    script:
        "../scripts/conversion_check.py"
