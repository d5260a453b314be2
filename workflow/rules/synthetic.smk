"""Synthetic cohorts with known truth, if the configuration has a section `synthetic`."""

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
        threads: 2  # processes; a machine with fewer cores takes fewer
        resources:
            mem_mb=growing(8000),
            runtime=growing(60),
        params:
            settings=(
                synthetic_settings(config["synthetic"])
                if PREPROCESSED
                else {
                    key: config["synthetic"][key]
                    for key in ("subjects", "visits", "spacing", "seed", "tables")
                }
            ),
            preprocessed=PREPROCESSED,
            out=lambda wildcards, output: parent_folder(output.truth, 1),
            source=source("synthetic:make_download", "synthetic:make_preprocessed"),
        message:
            "Making a synthetic cohort of {params.settings[subjects]} subjects"
        script:
            "../scripts/synthetic.py"

    # Data sets beside the main cohort that come preprocessed.
    for name, settings in config["synthetic"]["beside"].items():

        rule:
            name:
                f"synthetic_{name}"
            output:
                scans=directory(COHORT["beside"][name]["preprocessed_dir"]),
                truth=f"{parent_folder(COHORT['beside'][name]['preprocessed_dir'], 1)}/truth.tsv",
            log:
                logfile(f"synthetic_{name}.log"),
            benchmark:
                timing(f"synthetic_{name}.tsv")
            conda:
                "../../envs/ldae.yaml"
            threads: 2  # processes; a machine with fewer cores takes fewer
            resources:
                mem_mb=growing(8000),
                runtime=growing(60),
            params:
                settings=synthetic_settings(settings),
                preprocessed=True,
                out=lambda wildcards, output: parent_folder(output.truth, 1),
                source=source("synthetic:make_download", "synthetic:make_preprocessed"),
            message:
                "Making a synthetic preprocessed cohort of {params.settings[subjects]} subjects"
            script:
                "../scripts/synthetic.py"
