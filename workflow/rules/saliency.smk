"""Saliency: what of a scan the diagnosis is read from, and checks of the maps that say so."""

SALIENCY = config["evaluation"]["saliency"]

# The linear encoder has no slices, and so no attention over them.
ATTENTION = {}
if PUBLISHED or config["ldae"]["encoder"]["kind"] != "components":
    ATTENTION["attention"] = results("tables/slice_attention.tsv")

if SALIENCY:

    rule saliency:
        input:
            model=results("models/ldae/model.json"),
            volumes=multiext(results("cache/volumes/"), "store.json", "index.tsv"),
            classifier=CLASSIFIER,
            grey=SALIENCY["tissues"]["grey"],
            white=SALIENCY["tissues"]["white"],
            atlas=optional_input(SALIENCY["atlas"]),
            counterfactuals=(
                rules.counterfactual_volumes.output.arrays if TRUTHS else []
            ),
        output:
            **ATTENTION,
            maps=results("evaluation/saliency.npz"),
            regions=results("tables/saliency_regions.tsv"),
            checks=results("tables/saliency_checks.tsv"),
        log:
            logfile("saliency.log"),
        benchmark:
            timing("saliency.tsv")
        conda:
            "../../envs/ldae.yaml"
        threads: config["threads"]
        resources:
            mem_mb=growing(24000),
            runtime=growing(240),
            gpu=GPUS,
        params:
            seed=config["seed"],
            settings=evaluation("saliency", "bootstrap"),
            source=source("evaluation.saliency.evaluate:evaluate_saliency"),
        message:
            "Mapping what of the test scans the diagnosis is read from"
        script:
            "../scripts/saliency.py"
