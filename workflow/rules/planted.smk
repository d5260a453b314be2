"""Planted labels and sites of a synthetic cohort: made of its truth, and asked of its codes."""

if PLANTED:
    # Codes whose planted sites are asked for; always those of the LDAE.
    SHIFTED = {
        name: path
        for name, path in EMBEDDINGS.items()
        if name in SCANNER["systems"] or name == "ldae"
    }

    rule planted_labels:
        input:
            truth=TRUTHS,
        output:
            PLANTED["labels"],
        log:
            logfile("planted_labels.log"),
        benchmark:
            timing("planted_labels.tsv")
        conda:
            "../../envs/ldae.yaml"
        resources:
            mem_mb=growing(1000),
            runtime=10,
        params:
            seed=PLANTED["seed"],
            source=source("ground_truth.planted_labels:write_planted_labels"),
        message:
            "Planting labels in a synthetic cohort"
        script:
            "../scripts/planted_labels.py"

    rule planted:
        input:
            **SHIFTED,
            labels=rules.planted_labels.output[0],
            targets=rules.targets.output.summary,
            latents=multiext(results("cache/latents/"), "store.json", "index.tsv"),
            pca=rules.latents_pca.output[0],
            volumes=rules.tissue_volumes.output[0],
            oracle=rules.true_volumes.output[0],
            visits=rules.scans.output.scans,
        output:
            results("tables/planted.tsv"),
        log:
            logfile("planted.log"),
        benchmark:
            timing("planted.tsv")
        conda:
            "../../envs/ldae.yaml"
        resources:
            mem_mb=growing(4000),
            runtime=growing(60),
        params:
            seed=config["seed"],
            systems=list(SHIFTED),
            classes=CLASSES,
            settings=evaluation("planted", "scanner", "bootstrap")
            | part_of("probes", "cv_folds", "min_subjects"),
            source=source("ground_truth.planted:evaluate_planted"),
        message:
            "Comparing planted targets and sites with what was found"
        script:
            "../scripts/planted.py"
