"""Evaluation on test subjects: example volumes for the figures, and the target of all tables."""


rule examples:
    input:
        **MODELS,
        volumes=multiext(results("cache/volumes/"), "store.json", "index.tsv"),
        codes=CODES,
        classifier=CLASSIFIER,
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
        system=LDAE,
        settings=evaluation(
            "ddim_steps",
            "solver",
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
            LDAE,
        ),
    message:
        "Computing the volumes of the subjects shown in the figures"
    script:
        "../scripts/examples.py"


rule evaluate:
    input:
        rules.reconstruction.output,
        rules.volume_correlation.output,
        rules.guidance.output,
        rules.probes.output,
        rules.targets.output,
        CLASSIFIER,
        AGE_REGRESSOR,
        PROJECTION,
        list(EXTERNAL_TABLES.values()),
        list(EXTERNAL_TARGETS.values()),
        [
            results(f"tables/table{number}.{form}")
            for number in (5, 6, 7)
            for form in ("tsv", "md", "tex")
        ],
        results("tables/reconstruction_systems.tsv"),
        rules.manipulation.output,
        rules.interpolation.output,
        rules.solvers.output,
        rules.examples.output,
        rules.truth.output if TRUTHS else [],
        rules.decoded_volumes.output if TRUTHS else [],
        rules.planted.output if PLANTED else [],
        rules.counterfactual.output if TRUTHS else [],
        rules.saliency.output if SALIENCY else [],
        rules.scanner.output if SCANNER else [],
        rules.confounding.output if SCANNER else [],
        rules.fairness.output if FAIRNESS else [],
        rules.normative.output if NORMATIVE else [],
        rules.fine_tuning.output if FINE_TUNING_CASES else [],
