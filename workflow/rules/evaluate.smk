"""Evaluation on held-out subjects: tables with intervals, controls as rows, arrays of figures."""


rule reconstruction:
    input:
        volumes=results("cache/volumes/store.json"),
        latents=results("cache/latents/store.json"),
        autoencoder=results("models/autoencoder/model.json"),
        ldm=results("models/ldm/model.json"),
        ldae=results("models/ldae/model.json"),
        lpips=config["evaluation"]["lpips"]["weights"],
    output:
        scans=results("evaluation/reconstruction_scans.tsv"),
        arrays=results("evaluation/reconstruction.npz"),
        table=results("tables/reconstruction.tsv"),
        controls=results("tables/controls.tsv"),
    log:
        logfile("reconstruction.log"),
    benchmark:
        timing("reconstruction.tsv")
    conda:
        "../../envs/ldae.yaml"
    threads: config["threads"]
    resources:
        mem_mb=24000,
        runtime=1440,
        gpu=GPUS,
    params:
        **TRAINING,
        settings={
            key: config["evaluation"][key]
            for key in (
                "ddim_steps",
                "guidance",
                "batch_size",
                "noise_seed",
                "max_scans",
                "bootstrap",
                "lpips",
            )
        },
        figures=config["figures"],
        source=source(
            "evaluation/reconstruct.py",
            "evaluation/systems.py",
            "evaluation/metrics.py",
            "evaluation/bootstrap.py",
            "nets",
            "diffusion",
        ),
    message:
        "Reconstruction of test scans by every system (Table 6)"
    script:
        "../scripts/reconstruction.py"


rule guidance:
    input:
        volumes=results("cache/volumes/store.json"),
        latents=results("cache/latents/store.json"),
        autoencoder=results("models/autoencoder/model.json"),
        ldm=results("models/ldm/model.json"),
        ldae=results("models/ldae/model.json"),
    output:
        table=results("tables/guidance.tsv"),
    log:
        logfile("guidance.log"),
    benchmark:
        timing("guidance.tsv")
    conda:
        "../../envs/ldae.yaml"
    threads: config["threads"]
    resources:
        mem_mb=24000,
        runtime=480,
        gpu=GPUS,
    params:
        **TRAINING,
        settings={
            key: config["evaluation"][key]
            for key in ("batch_size", "noise_seed", "max_scans", "bootstrap")
        },
        source=source(
            "evaluation/guidance.py",
            "evaluation/systems.py",
            "evaluation/bootstrap.py",
            "nets",
            "diffusion",
        ),
    message:
        "Held-out loss with and without the gradient estimator"
    script:
        "../scripts/guidance.py"


rule probes:
    input:
        volumes=results("cache/volumes/store.json"),
        latents=results("cache/latents/store.json"),
        ldae=results("embeddings/ldae.npz"),
        untrained=results("embeddings/untrained.npz"),
    output:
        diagnosis=results("tables/probes_diagnosis.tsv"),
        age=results("tables/probes_age.tsv"),
        predictions=results("evaluation/probe_predictions.tsv"),
        direction=results("evaluation/direction.npz"),
        lda=results("evaluation/lda.tsv"),
    log:
        logfile("probes.log"),
    benchmark:
        timing("probes.tsv")
    conda:
        "../../envs/ldae.yaml"
    resources:
        mem_mb=8000,
        runtime=120,
    params:
        settings={key: config["evaluation"][key] for key in ("probes", "bootstrap")},
        seed=config["seed"],
        source=source("evaluation/probes.py", "evaluation/bootstrap.py"),
    message:
        "Linear probes for diagnosis and age (Table 7)"
    script:
        "../scripts/probes.py"


rule manipulation:
    input:
        volumes=results("cache/volumes/store.json"),
        latents=results("cache/latents/store.json"),
        autoencoder=results("models/autoencoder/model.json"),
        ldm=results("models/ldm/model.json"),
        ldae=results("models/ldae/model.json"),
        embeddings=results("embeddings/ldae.npz"),
        direction=rules.probes.output.direction,
    output:
        arrays=results("evaluation/manipulation.npz"),
        scans=results("evaluation/manipulation_scans.tsv"),
        table=results("tables/manipulation.tsv"),
    log:
        logfile("manipulation.log"),
    benchmark:
        timing("manipulation.tsv")
    conda:
        "../../envs/ldae.yaml"
    threads: config["threads"]
    resources:
        mem_mb=24000,
        runtime=480,
        gpu=GPUS,
    params:
        **TRAINING,
        settings={
            key: config["evaluation"][key]
            for key in (
                "manipulation",
                "guidance",
                "batch_size",
                "bootstrap",
                "probes",
            )
        },
        figures=config["figures"],
        source=source(
            "evaluation/manipulation.py", "evaluation/systems.py", "nets", "diffusion"
        ),
    message:
        "Moving test scans along the AD direction (Figures 6 and 7)"
    script:
        "../scripts/manipulation.py"


rule interpolation:
    input:
        volumes=results("cache/volumes/store.json"),
        latents=results("cache/latents/store.json"),
        autoencoder=results("models/autoencoder/model.json"),
        ldm=results("models/ldm/model.json"),
        ldae=results("models/ldae/model.json"),
    output:
        arrays=results("evaluation/interpolation.npz"),
        triplets=results("evaluation/interpolation_triplets.tsv"),
        table=results("tables/interpolation.tsv"),
    log:
        logfile("interpolation.log"),
    benchmark:
        timing("interpolation.tsv")
    conda:
        "../../envs/ldae.yaml"
    threads: config["threads"]
    resources:
        mem_mb=24000,
        runtime=1440,
        gpu=GPUS,
    params:
        **TRAINING,
        settings={
            key: config["evaluation"][key]
            for key in ("interpolation", "guidance", "batch_size", "bootstrap")
        },
        figures=config["figures"],
        source=source(
            "evaluation/interpolation.py", "evaluation/systems.py", "nets", "diffusion"
        ),
    message:
        "Interpolating missing visits (Figures 8 and 9)"
    script:
        "../scripts/interpolation.py"


if config["evaluation"]["truth"]:

    rule truth:
        input:
            volumes=results("cache/volumes/store.json"),
            latents=results("cache/latents/store.json"),
            ldae=results("embeddings/ldae.npz"),
            untrained=results("embeddings/untrained.npz"),
            truth=config["evaluation"]["truth"],
        output:
            table=results("tables/truth.tsv"),
            predictions=results("evaluation/truth_predictions.tsv"),
        log:
            logfile("truth.log"),
        benchmark:
            timing("truth.tsv")
        conda:
            "../../envs/ldae.yaml"
        resources:
            mem_mb=8000,
            runtime=60,
        params:
            settings={key: config["evaluation"][key] for key in ("probes", "bootstrap")},
            seed=config["seed"],
            source=source("evaluation/truth.py", "evaluation/probes.py"),
        message:
            "Comparing probes with the known truth of a synthetic cohort"
        script:
            "../scripts/truth.py"


rule evaluate:
    input:
        rules.reconstruction.output,
        rules.guidance.output,
        rules.probes.output,
        rules.manipulation.output,
        rules.interpolation.output,
        rules.truth.output if config["evaluation"]["truth"] else [],
