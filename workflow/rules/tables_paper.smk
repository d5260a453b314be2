"""The paper's Tables 5, 6 and 7, each number with its interval and the paper's value beside it."""

# Files of all systems: a further one is only added here.
RECONSTRUCTIONS = [rules.reconstruction.output.scans]
MODEL_SIZES = [results("evaluation/model_sizes.tsv")]
TIMINGS = [results("tables/inference.tsv")]
STAGES_OF_TABLE5 = ["autoencoder", "ldm", "ldae"]
if "dae" in config["baselines"]:
    RECONSTRUCTIONS += rules.reconstruction_dae.output
    MODEL_SIZES.append(results("evaluation/model_sizes_dae.tsv"))
    TIMINGS.append(results("tables/inference_dae.tsv"))
    STAGES_OF_TABLE5.append("dae")


rule inference:
    input:
        **MODELS,
        volumes=multiext(results("cache/volumes/"), "store.json", "index.tsv"),
    output:
        sizes=results("evaluation/model_sizes.tsv"),
        timings=results("tables/inference.tsv"),
    log:
        logfile("inference.log"),
    benchmark:
        timing("inference.tsv")
    conda:
        "../../envs/ldae.yaml"
    threads: config["threads"]
    resources:
        mem_mb=growing(16000),
        runtime=growing(240),
        gpu=GPUS,
    params:
        device=config["device"],
        settings=evaluation("ddim_steps", "guidance", "noise_seed", "timing_scans"),
        source=source("evaluation.cost:measure_inference", SYSTEM),
    message:
        "Timing reconstructions of single scans (Table 5)"
    script:
        "../scripts/inference.py"


if "dae" in config["baselines"]:

    rule inference_dae:
        input:
            volumes=multiext(results("cache/volumes/"), "store.json", "index.tsv"),
            dae=results("models/dae/model.json"),
        output:
            sizes=results("evaluation/model_sizes_dae.tsv"),
            timings=results("tables/inference_dae.tsv"),
        log:
            logfile("inference_dae.log"),
        benchmark:
            timing("inference_dae.tsv")
        conda:
            "../../envs/ldae.yaml"
        threads: config["threads"]
        resources:
            mem_mb=growing(16000),
            runtime=growing(240),
            gpu=GPUS,
        params:
            device=config["device"],
            settings=evaluation("ddim_steps", "noise_seed", "timing_scans"),
            source=source("evaluation.cost:measure_dae", SYSTEM_DAE),
        message:
            "Timing reconstructions of the voxel-space DAE (Table 5)"
        script:
            "../scripts/inference_dae.py"


rule tables_paper:
    input:
        scans=RECONSTRUCTIONS,
        sizes=MODEL_SIZES,
        timings=TIMINGS,
        models=[results(f"models/{stage}/model.json") for stage in STAGES_OF_TABLE5],
        probes=rules.probes.output.table,
    output:
        **{
            f"table{number}_{form}": results(f"tables/table{number}.{form}")
            for number in (5, 6, 7)
            for form in ("tsv", "md", "tex")
        },
    log:
        logfile("tables_paper.log"),
    benchmark:
        timing("tables_paper.tsv")
    conda:
        "../../envs/ldae.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
    params:
        seed=config["seed"],
        resamples=config["evaluation"]["bootstrap"],
        source=source("report.tables.paper:write_tables"),
    message:
        "Tables 5, 6 and 7 beside the paper's"
    script:
        "../scripts/tables_paper.py"
