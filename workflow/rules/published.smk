"""The authors' published weights in place of the three trainings, where the config has them."""

if PUBLISHED:

    rule published:
        input:
            **PUBLISHED,
            settings=results("models/training/published.json"),
            # The form of its volumes is kept, of whatever scans.
            volumes=ready("volumes", "published", *STAGES),
        output:
            autoencoder=multiext(
                results("models/autoencoder/"), "model.safetensors", "model.json"
            ),
            ldm=multiext(results("models/ldm/"), "model.safetensors", "model.json"),
            ldae=multiext(results("models/ldae/"), "model.safetensors", "model.json"),
        log:
            logfile("published.log"),
        benchmark:
            timing("published.tsv")
        conda:
            "../../envs/ldae.yaml"
        resources:
            mem_mb=growing(24000),
            runtime=growing(60),
        params:
            out=lambda wildcards, output: above(output.ldae[0], 2),
            stores=results("cache"),
            source=source("models.published.convert:convert", "models.published.authors_model:PARTS"),
        message:
            "Converting the authors' published weights"
        script:
            "../scripts/published.py"
