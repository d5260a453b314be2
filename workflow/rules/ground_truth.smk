"""Ground truth of synthetic cohorts: probes and manipulated scans compared with it."""

if TRUTHS:

    rule true_volumes:
        input:
            truth=TRUTHS,
            index=results("cache/volumes/index.tsv"),
        output:
            ORACLE["oracle"],
        log:
            logfile("true_volumes.log"),
        benchmark:
            timing("true_volumes.tsv")
        conda:
            "../../envs/ldae.yaml"
        resources:
            mem_mb=growing(1000),
            runtime=10,
        params:
            source=source("ground_truth.oracle:write_true_volumes"),
        message:
            "Writing the true volumes of every scan of a synthetic cohort"
        script:
            "../scripts/true_volumes.py"

    rule truth:
        input:
            **EMBEDDINGS,
            latents=multiext(results("cache/latents/"), "store.json", "index.tsv"),
            pca=rules.latents_pca.output[0],
            truth=TRUTHS,
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
            mem_mb=growing(8000),
            runtime=growing(60),
        params:
            seed=config["seed"],
            settings=evaluation("probes", "bootstrap") | DIAGNOSIS,
            systems=list(EMBEDDINGS),
            source=source("ground_truth.probes:correlate_with_truth"),
        message:
            "Comparing probes with the known truth of a synthetic cohort"
        script:
            "../scripts/truth.py"

    rule decoded_volumes:
        input:
            scans=rules.volume_correlation.input.scans,
            true_volumes=rules.true_volumes.output[0],
        output:
            table=results("tables/decoded_volumes.tsv"),
        log:
            logfile("decoded_volumes.log"),
        benchmark:
            timing("decoded_volumes.tsv")
        conda:
            "../../envs/ldae.yaml"
        resources:
            mem_mb=growing(2000),
            runtime=30,
        params:
            seed=config["seed"],
            resamples=config["evaluation"]["bootstrap"],
            source=source("ground_truth.decoded_volumes:correlate_decoded_volumes"),
        message:
            "Comparing volumes of decoded images with the true ones"
        script:
            "../scripts/decoded_volumes.py"

    rule counterfactual_volumes:
        input:
            truth=TRUTHS,
            scans=rules.scans.output.scans,
            volumes=multiext(results("cache/volumes/"), "store.json", "index.tsv"),
            registration=MANIFESTS["registration"],
        output:
            arrays=results("evaluation/counterfactual_volumes.npz"),
        log:
            logfile("counterfactual_volumes.log"),
        benchmark:
            timing("counterfactual_volumes.tsv")
        conda:
            "../../envs/ldae.yaml"
        resources:
            mem_mb=growing(8000),
            runtime=growing(120),
        params:
            bids=results("bids"),
            preproc=lambda wildcards, input: parent_folder(input.registration[0], 3),
            template=config["preprocess"]["template"]["name"],
            volumes=config["volumes"],
            settings=part_of("manipulation", "max_scans") | DIAGNOSIS,
            source=source("ground_truth.counterfactual_heads:make_counterfactuals"),
        message:
            "Making counterfactual test heads, with the atrophy of the other diagnosis"
        script:
            "../scripts/counterfactual_volumes.py"

    rule counterfactual:
        input:
            **MODELS,
            volumes=multiext(results("cache/volumes/"), "store.json", "index.tsv"),
            codes=CODES,
            classifier=CLASSIFIER,
            age_regressor=AGE_REGRESSOR,
            counterfactuals=rules.counterfactual_volumes.output.arrays,
        output:
            scans=results("evaluation/counterfactual_scans.tsv"),
            examples=results("evaluation/counterfactual_examples.npz"),
            table=results("tables/counterfactual.tsv"),
            differences=results("tables/counterfactual_differences.tsv"),
        log:
            logfile("counterfactual.log"),
        benchmark:
            timing("counterfactual.tsv")
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
            settings=evaluation("manipulation", "guidance", "batch_size", "bootstrap"),
            source=source("ground_truth.counterfactual:evaluate_counterfactual", LDAE),
        message:
            "Comparing manipulated scans with their true counterfactuals"
        script:
            "../scripts/counterfactual.py"
