"""Synthetic cohorts with known truth, if the configuration has a section `synthetic`."""

# Rule -> its settings, and the folder of scans that come preprocessed; None: a download.
SYNTHETIC = {}
if "synthetic" in config:
    SYNTHETIC["synthetic"] = (config["synthetic"], COHORT["preprocessed_dir"])
    for name, settings in config["synthetic"]["beside"].items():
        folder = COHORT["beside"][name]["preprocessed_dir"]
        SYNTHETIC[f"synthetic_{name}"] = (
            {"out": parent_folder(folder, 1)} | settings,
            folder,
        )

for synthetic_rule, (settings, scans) in SYNTHETIC.items():

    rule:
        name:
            synthetic_rule
        output:
            **(
                dict(scans=directory(scans))
                if scans
                else dict(
                    images=directory(config["paths"]["images"]),
                    tables=directory(config["paths"]["tables"]),
                )
            ),
            truth=f"{settings['out']}/truth.tsv",
        log:
            logfile(f"{synthetic_rule}.log"),
        benchmark:
            timing(f"{synthetic_rule}.tsv")
        conda:
            "../../envs/ldae.yaml"
        threads: 2  # processes; a machine with fewer cores takes fewer
        resources:
            mem_mb=growing(8000),
            runtime=growing(60),
        params:
            settings=synthetic_settings(settings, bool(scans)),
            preprocessed=bool(scans),
            out=lambda wildcards, output: parent_folder(output.truth, 1),
            source=source("synthetic:make_download", "synthetic:make_preprocessed"),
        message:
            "Making a synthetic cohort of {params.settings[subjects]} subjects"
        script:
            "../scripts/synthetic.py"
