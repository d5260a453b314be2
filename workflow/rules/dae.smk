"""Baseline: the voxel-space diffusion autoencoder (Eq. 5), its embeddings and reconstructions."""

if "dae" in config["baselines"]:

    rule dae:
        input:
            volumes=results("cache/volumes/store.json"),
            weights=encoder_weights,
        output:
            multiext(
                results("models/dae/"),
                "model.safetensors",
                "model.json",
                "history.tsv",
            ),
        log:
            logfile("dae.log"),
        benchmark:
            timing("dae.tsv")
        conda:
            "../../envs/ldae.yaml"
        threads: config["threads"] * config["dae"]["processes"]
        resources:
            mem_mb=32000 + 16000 * config["dae"]["processes"],
            runtime=20160,
            gpu=GPUS * config["dae"]["processes"],
        params:
            **TRAINING,
            settings=learnt(section(config, "dae")),
            diffusion=config["diffusion"],
            run_dir=results("runs/dae"),
            source=source("training/dae.py", "training/loop.py", "training/product.py"),
        message:
            "Baseline: training the voxel-space diffusion autoencoder"
        script:
            "../scripts/train.py"

    rule embeddings_dae:
        input:
            volumes=results("cache/volumes/store.json"),
            dae=results("models/dae/model.json"),
        output:
            results("embeddings/dae.npz"),
        log:
            logfile("embeddings_dae.log"),
        benchmark:
            timing("embeddings_dae.tsv")
        conda:
            "../../envs/ldae.yaml"
        threads: config["threads"]
        resources:
            mem_mb=16000,
            runtime=240,
            gpu=GPUS,
        params:
            **TRAINING,
            batch_size=config["evaluation"]["batch_size"],
            source=source("evaluation/dae.py"),
        message:
            "y_sem of every scan, by the voxel-space DAE's encoder"
        script:
            "../scripts/embeddings_dae.py"

    rule reconstruction_dae:
        input:
            volumes=multiext(results("cache/volumes/"), "store.json", "index.tsv"),
            dae=results("models/dae/model.json"),
            lpips=config["evaluation"]["lpips"]["weights"],
        output:
            results("evaluation/reconstruction_scans_dae.tsv"),
        log:
            logfile("reconstruction_dae.log"),
        benchmark:
            timing("reconstruction_dae.tsv")
        conda:
            "../../envs/ldae.yaml"
        threads: config["threads"]
        resources:
            mem_mb=24000,
            runtime=5760,
            gpu=GPUS,
        params:
            **TRAINING,
            settings=evaluation(
                "ddim_steps", "batch_size", "noise_seed", "max_scans", "lpips"
            ),
            most=config["dae"]["test_scans"],
            source=source("evaluation/dae.py"),
        message:
            "Reconstruction of test scans by the voxel-space DAE (Table 6)"
        script:
            "../scripts/reconstruction_dae.py"
