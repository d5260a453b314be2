"""Fine-tuning: the diagnosis from few people, from scratch and from encoders that learnt before."""

from ldae.config_checks import start_model
from ldae.evaluation.fine_tuning_cases import Case
from ldae.evaluation.fine_tuning_cases import IMAGENET as FROM_IMAGENET
from ldae.evaluation.fine_tuning_cases import LDAE as FROM_LDAE
from ldae.evaluation.fine_tuning_cases import cases as fine_tuning_cases
from ldae.training.settings import model_settings

FINE_TUNING = config["evaluation"]["fine_tuning"]

FINE_TUNING_CASES = [case.name for case in fine_tuning_cases(FINE_TUNING)]

if FINE_TUNING_CASES:

    rule fine_tune:
        input:
            volumes=multiext(results("cache/volumes/"), "store.json", "index.tsv"),
            ldae=lambda wildcards: (
                results(f"models/{start_model(config)}/model.json")
                if Case.of(wildcards.case).start == FROM_LDAE
                else []
            ),
            weights=lambda wildcards: (
                encoder_weights(wildcards)
                if Case.of(wildcards.case).start == FROM_IMAGENET
                else []
            ),
        output:
            model=multiext(
                results("models/fine_tuning/{case}/"),
                "model.safetensors",
                "model.json",
                "history.tsv",
                "scans.tsv",
            ),
            predictions=results("evaluation/fine_tuning/{case}.tsv"),
        log:
            logfile("fine_tune/{case}.log"),
        benchmark:
            timing("fine_tune/{case}.tsv")
        wildcard_constraints:
            case=one_of(FINE_TUNING_CASES),
        conda:
            "../../envs/ldae.yaml"
        threads: config["threads"]
        resources:
            mem_mb=growing(32000),
            runtime=growing(480),
            gpu=GPUS,
        params:
            run_dir=results("runs/fine_tuning-{case}"),
            compile_cache=results("cache/compiled"),
            section=model_settings(training_section(config, "fine_tuning")),
            settings={
                key: FINE_TUNING[key] for key in ("least_steps", "head_learning_rate")
            },
            seed=config["seed"],
            source=source(
                "evaluation.fine_tuning:fine_tune",
                "evaluation.fine_tuning_cases:Case",
                "training.stages:fine_tuning",
                "training.loop:fit",
                "training.stages:save_trained",
            ),
        message:
            "Fine-tuning {wildcards.case}"
        script:
            "../scripts/fine_tune.py"

    rule fine_tuning:
        input:
            predictions=expand(
                rules.fine_tune.output.predictions, case=FINE_TUNING_CASES
            ),
            cards=expand(
                results("models/fine_tuning/{case}/model.json"), case=FINE_TUNING_CASES
            ),
        output:
            table=results("tables/fine_tuning.tsv"),
        log:
            logfile("fine_tuning.log"),
        benchmark:
            timing("fine_tuning.tsv")
        conda:
            "../../envs/ldae.yaml"
        resources:
            mem_mb=growing(2000),
            runtime=growing(10),
        params:
            cases=FINE_TUNING_CASES,
            classes=CLASSES,
            seed=config["seed"],
            settings=evaluation("bootstrap"),
            source=source("evaluation.fine_tuning_table:write_fine_tuning_table"),
        message:
            "Comparing what few labels suffice for"
        script:
            "../scripts/fine_tuning.py"
