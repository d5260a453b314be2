"""Normative view: measures of test people against curves of healthy people along age, by sex."""

NORMATIVE = config["evaluation"]["normative"]

if NORMATIVE:

    rule normative:
        input:
            index=results("cache/volumes/index.tsv"),
            embeddings=results("embeddings/ldae.npz"),
            volumes=rules.tissue_volumes.output[0],
            probes=rules.probes.output.table,
            classifier=CLASSIFIER,
            age_regressor=AGE_REGRESSOR,
        output:
            # In the application's bundle, whose own rule does not depend on it.
            curves=results("models/application/normative.json"),
            people=results("evaluation/normative_people.tsv"),
            table=results("tables/normative.tsv"),
        log:
            logfile("normative.log"),
        benchmark:
            timing("normative.tsv")
        conda:
            "../../envs/ldae.yaml"
        resources:
            mem_mb=growing(4000),
            runtime=growing(30),
        params:
            seed=config["seed"],
            settings=evaluation("normative", "bootstrap")
            | part_of("probes", "cv_folds")
            | DIAGNOSIS,
            source=source(
                "evaluation.normative.evaluate:NormativeSources",
                "evaluation.normative.evaluate:evaluate_normative",
            ),
        message:
            "Drawing curves of healthy people's measures along age, and test people against them"
        script:
            "../scripts/normative.py"
