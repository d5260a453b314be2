"""Stage 2: the latent diffusion model (Table 3)."""

if not PUBLISHED:

    rule ldm:
        input:
            latents=results("cache/latents/store.json"),
            autoencoder=results("models/autoencoder/model.json"),
        output:
            multiext(
                results("models/ldm/"),
                "model.safetensors",
                "model.json",
                "history.tsv",
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
            **TRAINING,
            settings=learnt(config["ldm"]),
            diffusion=config["diffusion"],
            latents=config["latents"]["source"],
            run_dir=results("runs/ldm"),
            source=source("training/ldm.py", "training/loop.py", "training/product.py"),
        message:
            "Stage 2: pretraining the latent diffusion model"
        script:
            "../scripts/train.py"
