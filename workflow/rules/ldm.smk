"""Stage 2: the latent diffusion model (Table 3)."""

if not PUBLISHED:

    rule ldm:
        input:
            settings=results("models/training/ldm.json"),
            latents=ready("latents", "ldm"),
            autoencoder=results("models/autoencoder/model.json"),
        output:
            multiext(
                results("models/ldm/"),
                "model.safetensors",
                "model.json",
                "history.tsv",
                "scans.tsv",
            ),
        log:
            logfile("ldm.log"),
        benchmark:
            timing("ldm.tsv")
        conda:
            "../../envs/ldae.yaml"
        # config["threads"] is of one process; train.py shares them out.
        threads: config["threads"] * config["ldm"]["processes"]
        resources:
            mem_mb=16000 + 16000 * config["ldm"]["processes"],
            runtime=2880,
            gpu=GPUS * config["ldm"]["processes"],
        params:
            stores=results("cache"),
            run_dir=results("runs/ldm"),
        message:
            "Stage 2: pretraining the latent diffusion model"
        script:
            "../scripts/train.py"
