"""Stochastic codes of the test scans: every inversion that the experiments need, made once."""

# Cards of the store's shards, an input of every experiment; none: each inverts its own scans.
CODES = expand(
    results("cache/codes/shards/shard-{shard}.json"),
    shard=range(config["evaluation"]["code_shards"]),
)


rule code_shard:
    input:
        **MODELS,
        volumes=multiext(results("cache/volumes/"), "store.json", "index.tsv"),
    output:
        # Codes, below rows/, are not declared: Snakemake would delete them before a rerun.
        card=results("cache/codes/shards/shard-{shard}.json"),
    log:
        logfile("code_shard/shard-{shard}.log"),
    benchmark:
        timing("code_shard/shard-{shard}.tsv")
    conda:
        "../../envs/ldae.yaml"
    threads: config["threads"]
    resources:
        mem_mb=growing(16000),
        runtime=growing(480),
        gpu=GPUS,
    params:
        system=LDAE,
        settings=evaluation(
            "code_shards",
            "ddim_steps",
            "solver",
            "guidance",
            "batch_size",
            "max_scans",
            "solver_study",
        )
        | part_of("manipulation", "solver", "ddim_steps", "max_scans")
        | part_of("interpolation", "subjects", "min_visits", "ddim_steps", "solver")
        | DIAGNOSIS,
        subjects=config["figures"]["subjects"],
        interpolation_subject=config["figures"]["interpolation_subject"],
        # A scan is inverted again only if this changes.
        inverting=source("inference.codes:invert_shard", LDAE),
        source=source(
            "evaluation.inversion_plan:plan_of_store",
            "inference.codes:invert_shard",
            LDAE,
        ),
    message:
        "Inverting test scans, shard {wildcards.shard}"
    script:
        "../scripts/code_shard.py"
