"""Reconstruction of test scans: quality (Table 6), cost (Table 5), and the gain by guidance."""

for system, about in TRAINED_SYSTEMS.items():

    rule:
        name:
            with_system("reconstruction", system, "")
        input:
            **about["models"],
            volumes=multiext(results("cache/volumes/"), "store.json", "index.tsv"),
            codes=CODES if system == "ldae" else [],
            lpips=config["evaluation"]["lpips"]["weights"],
        output:
            **(
                dict(
                    table=results("tables/reconstruction.tsv"),
                    controls=results("tables/reconstruction_controls.tsv"),
                )
                if system == "ldae"
                else {}
            ),
            scans=results(
                with_system("evaluation/reconstruction_scans", system, ".tsv")
            ),
        log:
            logfile(with_system("reconstruction", system, ".log")),
        benchmark:
            timing(with_system("reconstruction", system, ".tsv"))
        conda:
            "../../envs/ldae.yaml"
        threads: config["threads"]
        resources:
            mem_mb=growing(24000),
            runtime=growing(480) if system == "ldae" else growing(720, most=2),
            gpu=GPUS,
        params:
            seed=config["seed"],
            settings=evaluation(
                "ddim_steps",
                "solver",
                "guidance",
                "batch_size",
                "noise_seed",
                "start_noise",
                "max_scans",
                "bootstrap",
                "lpips",
            ),
            system=about["loaded_by"],
            max_scans=about["max_scans"],
            source=source(
                "evaluation.reconstruction:evaluate_reconstruction",
                "evaluation.reconstruction:write_reconstruction_tables",
                about["loaded_by"],
            ),
        message:
            f"Reconstructing test scans with {system} (Table 6)"
        script:
            "../scripts/reconstruction.py"

    rule:
        name:
            with_system("inference", system, "")
        input:
            **about["models"],
            volumes=multiext(results("cache/volumes/"), "store.json", "index.tsv"),
        output:
            sizes=results(with_system("evaluation/model_sizes", system, ".tsv")),
            timings=results(with_system("tables/inference", system, ".tsv")),
        log:
            logfile(with_system("inference", system, ".log")),
        benchmark:
            timing(with_system("inference", system, ".tsv"))
        conda:
            "../../envs/ldae.yaml"
        threads: config["threads"]
        resources:
            mem_mb=growing(16000),
            runtime=growing(240),
            gpu=GPUS,
        params:
            device=config["device"],
            system=about["loaded_by"],
            settings=evaluation(
                "ddim_steps",
                "solver",
                "guidance",
                "noise_seed",
                "start_noise",
                "timing_scans",
            ),
            source=source("evaluation.cost:measure_cost", about["loaded_by"]),
        message:
            f"Timing reconstructions of single scans with {system} (Table 5)"
        script:
            "../scripts/inference.py"


rule volume_correlation:
    input:
        # Of the systems with the autoencoder; the volumes of the DAE's images are not measured.
        scans=[
            results(with_system("evaluation/reconstruction_scans", system, ".tsv"))
            for system, about in TRAINED_SYSTEMS.items()
            if "autoencoder" in about["models"]
        ],
    output:
        table=results("tables/reconstruction_volumes.tsv"),
    log:
        logfile("volume_correlation.log"),
    benchmark:
        timing("volume_correlation.tsv")
    conda:
        "../../envs/ldae.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=30,
    params:
        seed=config["seed"],
        resamples=config["evaluation"]["bootstrap"],
        source=source("evaluation.reconstruction_tables:volume_correlation_table"),
    message:
        "Comparing volumes of decoded images with those of their scans"
    script:
        "../scripts/volume_correlation.py"


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
        system=LDAE,
        settings=evaluation("guidance", "batch_size", "max_scans", "bootstrap"),
        source=source("evaluation.guidance:evaluate_guidance", LDAE),
    message:
        "Measuring the held-out loss with and without the gradient estimator"
    script:
        "../scripts/guidance.py"
