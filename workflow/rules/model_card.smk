"""The model card: what the trained models are, how good, for what, and for what not."""


rule model_card:
    input:
        models=expand(
            results("models/{stage}/model.json"), stage=("autoencoder", "ldm", "ldae")
        ),
        index=results("cache/volumes/index.tsv"),
        reconstruction=results("tables/reconstruction.tsv"),
        probes=results("tables/probes.tsv"),
    output:
        card=results("models/MODEL_CARD.md"),
    log:
        logfile("model_card.log"),
    benchmark:
        timing("model_card.tsv")
    conda:
        "../../envs/ldae.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        results=lambda wildcards, output: above(output.card, 2),
        config=config,
        source=source("report.model_card:write_model_card"),
    message:
        "Writing the models' card"
    script:
        "../scripts/model_card.py"
