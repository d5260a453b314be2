"""Preprocessing, one job a shard of subjects: N4, brain extraction, registration; then QC."""

BRAIN_FIRST = config["preprocess"]["n4"]["mask"] == "brain"


rule n4:
    input:
        scans=results("cohort/shards/shard-{shard}.tsv"),
        bids=ancient(rules.bids.output.bids),
        earlier=MANIFEST["brain"] if BRAIN_FIRST else [],
    output:
        manifest=MANIFEST["n4"],
    log:
        logfile("n4/shard-{shard}.log"),
    benchmark:
        timing("n4/shard-{shard}.tsv")
    wildcard_constraints:
        shard=one_of(RAW_SHARDS),
    conda:
        "../../envs/ldae.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=240,
    params:
        preproc=lambda wildcards, output: parent_folder(output.manifest, 3),
        settings=step_settings("n4"),
        source=source("preprocess.n4:run_n4"),
    message:
        "N4 bias field correction, shard {wildcards.shard}"
    script:
        "../scripts/n4.py"


rule brain_extraction:
    input:
        scans=results("cohort/shards/shard-{shard}.tsv"),
        bids=ancient(rules.bids.output.bids),
        earlier=[] if BRAIN_FIRST else MANIFEST["n4"],
        weights=brain_extraction_weights,
    output:
        manifest=MANIFEST["brain"],
    log:
        logfile("brain_extraction/shard-{shard}.log"),
    benchmark:
        timing("brain_extraction/shard-{shard}.tsv")
    wildcard_constraints:
        shard=one_of(RAW_SHARDS),
    conda:
        "../../envs/ldae.yaml"
    resources:
        mem_mb=growing(6000),
        runtime=180,
    params:
        preproc=lambda wildcards, output: parent_folder(output.manifest, 3),
        settings=step_settings("n4", "brain_extraction"),
        source=source("preprocess.brain_extraction:run_brain_extraction"),
    message:
        "Brain extraction by {params.settings[brain_extraction][method]}, shard {wildcards.shard}"
    script:
        "../scripts/brain_extraction.py"


if MRIQC:

    rule mriqc:
        input:
            tables=list(MRIQC.values()),
            conversion=rules.bids.output.conversion,
        output:
            measures=results("cohort/mriqc.tsv"),
        log:
            logfile("mriqc.log"),
        benchmark:
            timing("mriqc.tsv")
        conda:
            "../../envs/ldae.yaml"
        resources:
            mem_mb=growing(1000),
            runtime=growing(10),
        params:
            cohorts=list(MRIQC),
            bounded=mriqc_bounds(config),
            source=source("cohort.mriqc:join_mriqc"),
        message:
            "Joining MRIQC's measures to the scans"
        script:
            "../scripts/mriqc.py"


rule registration:
    input:
        scans=results("cohort/shards/shard-{shard}.tsv"),
        earlier=MANIFEST["n4"] if BRAIN_FIRST else MANIFEST["brain"],
        template=config["preprocess"]["template"]["image"],
        mask=config["preprocess"]["template"]["mask"],
        mriqc=rules.mriqc.output.measures if MRIQC else [],
    output:
        manifest=MANIFEST["registration"],
    log:
        logfile("registration/shard-{shard}.log"),
    benchmark:
        timing("registration/shard-{shard}.tsv")
    wildcard_constraints:
        shard=one_of(RAW_SHARDS),
    conda:
        "../../envs/ldae.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=240,
    params:
        preproc=lambda wildcards, output: parent_folder(output.manifest, 3),
        settings=step_settings("registration", "qc"),
        volumes=config["volumes"],
        source=source("preprocess.registration:run_registration"),
    message:
        "Registration to the template, shard {wildcards.shard}"
    script:
        "../scripts/registration.py"


# It writes the manifest of a registration, so that the rules after it are the same.
rule preprocessed_input:
    input:
        scans=results("cohort/shards/shard-{shard}.tsv"),
        bids=ancient(rules.bids.output.bids),
        template=config["preprocess"]["template"]["image"],
        mask=config["preprocess"]["template"]["mask"],
        mriqc=rules.mriqc.output.measures if MRIQC else [],
    output:
        manifest=MANIFEST["registration"],
    log:
        logfile("preprocessed_input/shard-{shard}.log"),
    benchmark:
        timing("preprocessed_input/shard-{shard}.tsv")
    wildcard_constraints:
        shard=one_of(PREPROCESSED_SHARDS),
    conda:
        "../../envs/ldae.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=240,
    params:
        preproc=lambda wildcards, output: parent_folder(output.manifest, 3),
        settings=step_settings("qc"),
        volumes=config["volumes"],
        source=source("preprocess.preprocessed_input:run_preprocessed_input"),
    message:
        "Checking preprocessed scans and resampling them to the grid, shard {wildcards.shard}"
    script:
        "../scripts/preprocessed_input.py"


rule template_picture:
    input:
        template=config["preprocess"]["template"]["image"],
        mask=config["preprocess"]["template"]["mask"],
    output:
        picture=results("qc/template.webp"),
    log:
        logfile("template_picture.log"),
    benchmark:
        timing("template_picture.tsv")
    conda:
        "../../envs/ldae.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        spacing=config["volumes"]["spacing"],
        source=source(
            "preprocess.resampling:load_template",
            "preprocess.qc_picture:Head",
            "preprocess.qc_picture:write_template",
        ),
    message:
        "Drawing the template at the slices of the QC pictures"
    script:
        "../scripts/template_picture.py"


rule qc:
    input:
        **MANIFESTS,
        scans=rules.scans.output.scans,
        duplicates=rules.scans.output.duplicates,
        ratings=rules.decisions.output.ratings,
        template=rules.template_picture.output.picture,
        mriqc=rules.mriqc.output.measures if MRIQC else [],
    output:
        page=results("qc/index.html"),
        parts=directory(results("qc/scans")),
        measures=results("qc/measures.tsv"),
        quarantine=results("preproc/quarantine.tsv"),
        description=results("preproc/dataset_description.json"),
    log:
        logfile("qc.log"),
    benchmark:
        timing("qc.tsv")
    conda:
        "../../envs/ldae.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        bids=results("bids"),
        files=rating_files(),
        rule=config["cohort"]["disagreement"],
        cohorts=[config["cohort"]["name"], *config["cohort"]["beside"]],
        settings=step_settings("brain_extraction", "qc"),
        raw=bool(RAW_SHARDS),
        source=source(
            "preprocess.qc_page:write_page",
            "preprocess.bids_derivatives:describe_dataset",
            "preprocess.bids_derivatives:remove_withdrawn",
            "cohort.ratings:split_ratings",
            "derivatives:read_manifests",
            "derivatives:lost_scans",
        ),
    message:
        "Writing the QC page: picture and measures of every scan, trouble first"
    script:
        "../scripts/qc.py"


# Not stages: `snakemake retry` resets failed scans and conversions, `snakemake redo --config
# scan=ID` (or a list) any scans of the preprocessing. The next run does them again.
localrules:
    retry,
    redo,


rule retry:
    log:
        logfile("retry.log"),
    conda:
        "../../envs/ldae.yaml"
    params:
        results=RESULTS,
    message:
        "Resetting failed scans and conversions for the next run"
    script:
        "../scripts/rerun.py"


rule redo:
    log:
        logfile("redo.log"),
    conda:
        "../../envs/ldae.yaml"
    params:
        results=RESULTS,
        scan=config.get("scan"),
    message:
        "Resetting the named scans for the next run"
    script:
        "../scripts/rerun.py"
