"""Scans that came skull-stripped and in the template's space: checked and put on the grid."""

if PREPROCESSED:

    # Both write the registration's manifest: what follows reads either.
    ruleorder: placing > registration

    rule placing:
        input:
            scans=results("cohort/shards/shard-{shard}.tsv"),
            bids=ancient(rules.bids.output.bids),
            template=config["preprocess"]["template"]["image"],
            mask=config["preprocess"]["template"]["mask"],
        output:
            manifest=MANIFEST["registration"],
        log:
            logfile("placing/shard-{shard}.log"),
        benchmark:
            timing("placing/shard-{shard}.tsv")
        conda:
            "../../envs/ldae.yaml"
        resources:
            mem_mb=growing(4000),
            runtime=240,
        params:
            preproc=lambda wildcards, output: above(output.manifest, 3),
            settings=step_settings("qc"),
            volumes=config["volumes"],
            source=source("preprocess.preprocessed_input:run_placing"),
        message:
            "Checking preprocessed scans and putting them on the grid, shard {wildcards.shard}"
        script:
            "../scripts/placing.py"
