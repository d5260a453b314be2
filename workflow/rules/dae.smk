"""Baseline: the voxel-space diffusion autoencoder (Eq. 5), its embeddings and reconstructions."""

if "dae" in config["baselines"]:

    rule dae:
        input:
            settings=results("models/training/dae.json"),
            volumes=ready("volumes", "dae"),
            weights=encoder_weights,
        output:
            multiext(
                results("models/dae/"),
                "model.safetensors",
                "model.json",
                "history.tsv",
                "scans.tsv",
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
            stores=results("cache"),
            run_dir=results("runs/dae"),
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
            mem_mb=growing(16000),
            runtime=growing(240),
            gpu=GPUS,
        params:
            seed=config["seed"],
            batch_size=config["evaluation"]["batch_size"],
            source=source("inference.embeddings:embed_dae", SYSTEM_DAE),
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
            mem_mb=growing(24000),
            runtime=growing(720, most=2),
            gpu=GPUS,
        params:
            seed=config["seed"],
            settings=evaluation(
                "ddim_steps", "batch_size", "noise_seed", "max_scans", "lpips"
            ),
            most=config["dae"]["test_scans"],
            source=source("evaluation.reconstruction:evaluate_dae", SYSTEM_DAE),
        message:
            "Reconstruction of test scans by the voxel-space DAE (Table 6)"
        script:
            "../scripts/reconstruction_dae.py"
