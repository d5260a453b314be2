"""Per-scan steps, a shard of subjects a job: N4, brain extraction, registration; quality."""

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
    conda:
        "../../envs/ldae.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=240,
    params:
        preproc=lambda wildcards, output: above(output.manifest, 3),
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
    conda:
        "../../envs/ldae.yaml"
    resources:
        mem_mb=growing(6000),
        runtime=180,
    params:
        preproc=lambda wildcards, output: above(output.manifest, 3),
        settings=step_settings("n4", "brain_extraction"),
        source=source("preprocess.brain_extraction:run_brain_extraction"),
    message:
        "Brain extraction by {params.settings[brain_extraction][method]}, shard {wildcards.shard}"
    script:
        "../scripts/brain_extraction.py"


rule registration:
    input:
        scans=results("cohort/shards/shard-{shard}.tsv"),
        earlier=MANIFEST["n4"] if BRAIN_FIRST else MANIFEST["brain"],
        template=config["preprocess"]["template"]["image"],
        mask=config["preprocess"]["template"]["mask"],
    output:
        manifest=MANIFEST["registration"],
    log:
        logfile("registration/shard-{shard}.log"),
    benchmark:
        timing("registration/shard-{shard}.tsv")
    conda:
        "../../envs/ldae.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=240,
    params:
        preproc=lambda wildcards, output: above(output.manifest, 3),
        settings=step_settings("registration", "qc"),
        volumes=config["volumes"],
        source=source("preprocess.registration:run_registration"),
    message:
        "Registration to the template, shard {wildcards.shard}"
    script:
        "../scripts/registration.py"


if PREPROCESSED:

    # Both write the registration's manifest: what follows reads either.
    ruleorder: preprocessed_input > registration

    rule preprocessed_input:
        input:
            scans=results("cohort/shards/shard-{shard}.tsv"),
            bids=ancient(rules.bids.output.bids),
            template=config["preprocess"]["template"]["image"],
            mask=config["preprocess"]["template"]["mask"],
        output:
            manifest=MANIFEST["registration"],
        log:
            logfile("preprocessed_input/shard-{shard}.log"),
        benchmark:
            timing("preprocessed_input/shard-{shard}.tsv")
        conda:
            "../../envs/ldae.yaml"
        resources:
            mem_mb=growing(4000),
            runtime=240,
        params:
            preproc=lambda wildcards, output: above(output.manifest, 3),
            settings=step_settings("qc"),
            volumes=config["volumes"],
            source=source("preprocess.preprocessed_input:run_preprocessed_input"),
        message:
            "Checking preprocessed scans and putting them on the grid, shard {wildcards.shard}"
        script:
            "../scripts/preprocessed_input.py"


rule qc:
    input:
        **MANIFESTS,
        scans=rules.scans.output.scans,
        conversion=rules.bids.output.conversion,
        duplicates=rules.scans.output.duplicates,
        exclude=[ancient(path) for path in staged(config["cohort"]["exclude"])],
    output:
        page=results("qc/index.html"),
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
        exclude=config["cohort"]["exclude"],
        decisions=content(config["cohort"]["exclude"]),
        settings=step_settings("brain_extraction", "qc"),
        elsewhere=PREPROCESSED,
        source=source(
            "preprocess.qc_page:write_page",
            "preprocess.bids_derivatives:describe_dataset",
            "preprocess.bids_derivatives:remove_withdrawn",
            "cohort.inclusion:read_decisions",
            "cohort.inclusion:known_scans",
            "derivatives:read_manifests",
            "derivatives:lost_scans",
        ),
    message:
        "Page of quality: every scan's picture and measures, outliers first"
    script:
        "../scripts/qc.py"


# Not stages: `snakemake retry` forgets failed scans and conversions, `snakemake redo --config
# scan=ID` (or a list) scans of the preprocessing; the next run does them again.
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
        "Letting failed scans and conversions be tried again"
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
        "Letting scans be preprocessed again by name"
    script:
        "../scripts/rerun.py"
