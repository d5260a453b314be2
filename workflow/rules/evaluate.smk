"""Evaluation on held-out subjects: tables with intervals, controls as rows, arrays of figures."""


rule reconstruction:
    input:
        **MODELS,
        volumes=multiext(results("cache/volumes/"), "store.json", "index.tsv"),
        lpips=config["evaluation"]["lpips"]["weights"],
    output:
        scans=results("evaluation/reconstruction_scans.tsv"),
        table=results("tables/reconstruction.tsv"),
        controls=results("tables/reconstruction_controls.tsv"),
    log:
        logfile("reconstruction.log"),
    benchmark:
        timing("reconstruction.tsv")
    conda:
        "../../envs/ldae.yaml"
    threads: config["threads"]
    resources:
        mem_mb=growing(24000),
        runtime=growing(480),
        gpu=GPUS,
    params:
        seed=config["seed"],
        settings=evaluation(
            "ddim_steps",
            "guidance",
            "batch_size",
            "noise_seed",
            "max_scans",
            "bootstrap",
            "lpips",
        ),
        source=source("evaluation.reconstruction:evaluate_reconstruction", SYSTEM),
    message:
        "Reconstruction of test scans by every system (Table 6)"
    script:
        "../scripts/reconstruction.py"


rule volumes_followed:
    input:
        scans=rules.reconstruction.output.scans,
    output:
        table=results("tables/reconstruction_volumes.tsv"),
    log:
        logfile("volumes_followed.log"),
    benchmark:
        timing("volumes_followed.tsv")
    conda:
        "../../envs/ldae.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=30,
    params:
        seed=config["seed"],
        resamples=config["evaluation"]["bootstrap"],
        source=source("evaluation.reconstruction_tables:follow_table"),
    message:
        "Comparing volumes of decoded images with those of their scans"
    script:
        "../scripts/volumes_followed.py"


rule guidance:
    input:
        **MODELS,
        latents=multiext(results("cache/latents/"), "store.json", "index.tsv"),
    output:
        scans=results("evaluation/guidance_scans.tsv"),
        table=results("tables/guidance.tsv"),
        differences=results("tables/guidance_differences.tsv"),
    log:
        logfile("guidance.log"),
    benchmark:
        timing("guidance.tsv")
    conda:
        "../../envs/ldae.yaml"
    threads: config["threads"]
    resources:
        mem_mb=growing(24000),
        runtime=growing(480),
        gpu=GPUS,
    params:
        seed=config["seed"],
        settings=evaluation("guidance", "batch_size", "max_scans", "bootstrap"),
        source=source("evaluation.guidance:evaluate_guidance", SYSTEM),
    message:
        "Held-out loss with and without the gradient estimator"
    script:
        "../scripts/guidance.py"


rule interpolation:
    input:
        **MODELS,
        volumes=multiext(results("cache/volumes/"), "store.json", "index.tsv"),
    output:
        triplets=results("evaluation/interpolation_triplets.tsv"),
        example=results("evaluation/interpolation_example.npz"),
        table=results("tables/interpolation.tsv"),
        differences=results("tables/interpolation_differences.tsv"),
        extrapolation_triplets=results("evaluation/extrapolation_triplets.tsv"),
        extrapolation=results("tables/extrapolation.tsv"),
        extrapolation_differences=results("tables/extrapolation_differences.tsv"),
    log:
        logfile("interpolation.log"),
    benchmark:
        timing("interpolation.tsv")
    conda:
        "../../envs/ldae.yaml"
    threads: config["threads"]
    resources:
        mem_mb=growing(24000),
        runtime=growing(480),
        gpu=GPUS,
    params:
        seed=config["seed"],
        settings=evaluation("interpolation", "guidance", "batch_size", "bootstrap"),
        subject=config["figures"]["interpolation_subject"],
        source=source("evaluation.interpolation:evaluate_interpolation", SYSTEM),
    message:
        "Interpolating missing visits (section 5.5)"
    script:
        "../scripts/interpolation.py"


rule examples:
    input:
        **MODELS,
        volumes=multiext(results("cache/volumes/"), "store.json", "index.tsv"),
        classifier=rules.probes.output.classifier,
    output:
        reconstruction=results("evaluation/reconstruction_examples.npz"),
        manipulation=results("evaluation/manipulation_examples.npz"),
        progression=results("evaluation/progression.npz"),
        progression_reverse=results("evaluation/progression_reverse.npz"),
    log:
        logfile("examples.log"),
    benchmark:
        timing("examples.tsv")
    conda:
        "../../envs/ldae.yaml"
    threads: config["threads"]
    resources:
        mem_mb=growing(16000),
        runtime=growing(240),
        gpu=GPUS,
    params:
        seed=config["seed"],
        settings=evaluation(
            "ddim_steps",
            "guidance",
            "batch_size",
            "noise_seed",
            "manipulation",
            "probes",
        ),
        subjects=config["figures"]["subjects"],
        samples=config["figures"]["stochastic_samples"],
        source=source(
            "evaluation.examples:reconstruction_examples",
            "evaluation.manipulation:manipulation_examples",
            SYSTEM,
        ),
    message:
        "Volumes of the subjects shown in the figures"
    script:
        "../scripts/examples.py"


rule evaluate:
    input:
        rules.reconstruction.output,
        rules.volumes_followed.output,
        rules.reconstruction_dae.output if "dae" in config["baselines"] else [],
        rules.guidance.output,
        rules.probes.output,
        [
            results(f"tables/table{number}.{form}")
            for number in (5, 6, 7)
            for form in ("tsv", "md", "tex")
        ],
        rules.manipulation.output,
        rules.interpolation.output,
        rules.examples.output,
        rules.truth.output if config["evaluation"]["truth"] else [],
        rules.counterfactual.output if config["evaluation"]["truth"] else [],
