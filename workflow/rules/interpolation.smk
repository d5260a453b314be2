"""Interpolation of missing visits and extrapolation of next visits (section 5.5)."""


rule interpolation:
    input:
        **MODELS,
        volumes=multiext(results("cache/volumes/"), "store.json", "index.tsv"),
        latents=multiext(results("cache/latents/"), "store.json", "index.tsv"),
        codes=CODES,
    output:
        triplets=results("evaluation/interpolation_triplets.tsv"),
        example=results("evaluation/interpolation_example.npz"),
        table=results("tables/interpolation.tsv"),
        differences=results("tables/interpolation_differences.tsv"),
        extrapolation_triplets=results("evaluation/extrapolation_triplets.tsv"),
        extrapolation=results("tables/extrapolation.tsv"),
        extrapolation_differences=results("tables/extrapolation_differences.tsv"),
        correction=results("tables/visit_correction.tsv"),
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
        system=LDAE,
        settings=evaluation("interpolation", "guidance", "batch_size", "bootstrap"),
        subject=config["figures"]["interpolation_subject"],
        source=source("evaluation.interpolation:evaluate_interpolation", LDAE),
    message:
        "Interpolating missing visits, extrapolating next ones (section 5.5)"
    script:
        "../scripts/interpolation.py"
