"""The models as a product: what `ldae` needs beside them."""


rule application:
    input:
        autoencoder=results("models/autoencoder/model.json"),
        ldm=results("models/ldm/model.json"),
        ldae=results("models/ldae/model.json"),
        classifier=results("evaluation/classifier.npz"),
        age_regressor=results("evaluation/age_regressor.npz"),
        template=config["preprocess"]["template"]["image"],
        mask=config["preprocess"]["template"]["mask"],
    output:
        card=results("models/application/application.json"),
        classifier=results("models/application/classifier.npz"),
        age_regressor=results("models/application/age_regressor.npz"),
        template=results("models/application/template.nii.gz"),
        mask=results("models/application/template_mask.nii.gz"),
    log:
        logfile("application.log"),
    benchmark:
        timing("application.tsv")
    conda:
        "../../envs/ldae.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        settings=dict(
            preprocess={
                key: value
                for key, value in config["preprocess"].items()
                if key != "shards"
            },
            volumes=config["volumes"],
            guidance=config["evaluation"]["guidance"],
            ddim_steps=config["evaluation"]["manipulation"]["ddim_steps"],
            mode=config["evaluation"]["manipulation"]["mode"],
        ),
        source=source("application.bundle:write_bundle"),
    message:
        "Packing probes, template and settings beside the models"
    script:
        "../scripts/application.py"
