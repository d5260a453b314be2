"""Synthetic cohort with known truth, if the configuration has a section `synthetic`."""

if "synthetic" in config:

    rule synthetic:
        output:
            **(
                dict(scans=directory(COHORT["preprocessed_dir"]))
                if PREPROCESSED
                else dict(
                    images=directory(config["paths"]["images"]),
                    tables=directory(config["paths"]["tables"]),
                )
            ),
            truth=f"{config['synthetic']['out']}/truth.tsv",
        log:
            logfile("synthetic.log"),
        benchmark:
            timing("synthetic.tsv")
        conda:
            "../../envs/ldae.yaml"
        threads: config["threads"]
        resources:
            mem_mb=growing(8000),
            runtime=growing(60),
        params:
            settings={
                key: config["synthetic"][key]
                for key in ("subjects", "visits", "spacing", "seed")
            }
            | (
                {"template": config["preprocess"]["template"]["name"]}
                if PREPROCESSED
                else {"tables": config["synthetic"]["tables"]}
            ),
            preprocessed=PREPROCESSED,
            out=lambda wildcards, output: parent_folder(output.truth, 1),
            source=source("synthetic:make_download", "synthetic:make_preprocessed"),
        message:
            "Making a synthetic cohort of {params.settings[subjects]} subjects"
        script:
            "../scripts/synthetic.py"
