"""External test sets (`cohort.beside.NAME.role: test`): reconstruction and probes of their scans.

Rules of their own: the results on the cohort's own test set do not depend on them.
"""

# Tables that say what the external test sets give; empty without any. Those of targets of the user
# stand apart: Tables 6 and 7 do not depend on them.
EXTERNAL_TABLES = {}
EXTERNAL_TARGETS = {}

if EXTERNAL_COHORTS:
    EXTERNAL_TABLES = {
        name: results(f"tables/{name}.tsv")
        for name in (
            "reconstruction_external",
            "reconstruction_external_differences",
            "probes_external",
            "probes_external_differences",
        )
    }

    for system, about in TRAINED_SYSTEMS.items():

        rule:
            name:
                with_system("reconstruction", system, "_external")
            input:
                **about["models"],
                volumes=multiext(results("cache/volumes/"), "store.json", "index.tsv"),
                lpips=config["evaluation"]["lpips"]["weights"],
            output:
                scans=results(
                    with_system(
                        "evaluation/reconstruction_scans", system, "_external.tsv"
                    )
                ),
            log:
                logfile(with_system("reconstruction", system, "_external.log")),
            benchmark:
                timing(with_system("reconstruction", system, "_external.tsv"))
            conda:
                "../../envs/ldae.yaml"
            threads: config["threads"]
            resources:
                mem_mb=growing(24000),
                runtime=growing(480) if system == "ldae" else growing(720, most=2),
                gpu=GPUS,
            params:
                seed=config["seed"],
                settings=evaluation(
                    "ddim_steps",
                    "solver",
                    "guidance",
                    "batch_size",
                    "noise_seed",
                    "start_noise",
                    "max_scans",
                    "lpips",
                ),
                system=about["loaded_by"],
                max_scans=about["max_scans"],
                external=EXTERNAL_COHORTS,
                source=source(
                    "evaluation.reconstruction:evaluate_reconstruction",
                    about["loaded_by"],
                ),
            message:
                f"Reconstructing scans of external test sets with {system} (Table 6)"
            script:
                "../scripts/reconstruction_external.py"

    rule reconstruction_tables_external:
        input:
            external=[
                results(
                    with_system(
                        "evaluation/reconstruction_scans", system, "_external.tsv"
                    )
                )
                for system in TRAINED_SYSTEMS
            ],
            own=[
                results(with_system("evaluation/reconstruction_scans", system, ".tsv"))
                for system in TRAINED_SYSTEMS
            ],
        output:
            table=EXTERNAL_TABLES["reconstruction_external"],
            differences=EXTERNAL_TABLES["reconstruction_external_differences"],
        log:
            logfile("reconstruction_tables_external.log"),
        benchmark:
            timing("reconstruction_tables_external.tsv")
        conda:
            "../../envs/ldae.yaml"
        resources:
            mem_mb=growing(4000),
            runtime=growing(30),
        params:
            seed=config["seed"],
            resamples=config["evaluation"]["bootstrap"],
            cohorts=EXTERNAL_COHORTS,
            reference=MAIN_COHORT,
            source=source(
                "evaluation.external_reconstruction:external_reconstruction_tables"
            ),
        message:
            "Comparing reconstructions of external test sets with the cohort's own"
        script:
            "../scripts/reconstruction_tables_external.py"

    rule probes_external:
        input:
            **EMBEDDINGS,
            **{
                f"{target}_predictions": results(
                    f"evaluation/supervised_{target}_external.tsv"
                )
                for target in SUPERVISED_TARGETS
            },
            **ORACLE,
            **{
                name: results(f"evaluation/predictions_{name}.tsv")
                for name in STANDARD_TARGETS
            },
            latents=multiext(results("cache/latents/"), "store.json", "index.tsv"),
            volumes=rules.tissue_volumes.output[0],
            visits=results("cohort/scans.tsv"),
        output:
            table=EXTERNAL_TABLES["probes_external"],
            differences=EXTERNAL_TABLES["probes_external_differences"],
        log:
            logfile("probes_external.log"),
        benchmark:
            timing("probes_external.tsv")
        conda:
            "../../envs/ldae.yaml"
        resources:
            mem_mb=growing(8000),
            runtime=growing(120),
        params:
            seed=config["seed"],
            systems=list(EMBEDDINGS),
            names=STANDARD_TARGETS,
            settings=evaluation("probes", "bootstrap")
            | {
                "targets": {
                    name: config["evaluation"]["targets"][name]
                    for name in STANDARD_TARGETS
                }
            },
            cohorts=EXTERNAL_COHORTS,
            reference=MAIN_COHORT,
            source=source("evaluation.probes.external:evaluate_external_probes"),
        message:
            "Probing external test sets (Table 7)"
        script:
            "../scripts/probes_external.py"

    OWN_TARGETS = [name for name in PROBE_TARGETS if name not in STANDARD]
    if OWN_TARGETS:
        EXTERNAL_TARGETS = {
            name: results(f"tables/{name}.tsv")
            for name in ("targets_external", "targets_external_differences")
        }

        rule targets_external:
            input:
                **EMBEDDINGS,
                **ORACLE,
                **{
                    name: results(f"evaluation/predictions_{name}.tsv")
                    for name in OWN_TARGETS
                },
                latents=multiext(results("cache/latents/"), "store.json", "index.tsv"),
                volumes=rules.tissue_volumes.output[0],
                visits=results("cohort/scans.tsv"),
            output:
                table=EXTERNAL_TARGETS["targets_external"],
                differences=EXTERNAL_TARGETS["targets_external_differences"],
            log:
                logfile("targets_external.log"),
            benchmark:
                timing("targets_external.tsv")
            conda:
                "../../envs/ldae.yaml"
            resources:
                mem_mb=growing(8000),
                runtime=growing(120),
            params:
                seed=config["seed"],
                systems=list(EMBEDDINGS),
                names=OWN_TARGETS,
                settings=evaluation("probes", "bootstrap", "targets"),
                cohorts=EXTERNAL_COHORTS,
                reference=MAIN_COHORT,
                source=source("evaluation.probes.external:evaluate_external_probes"),
            message:
                "Probing external test sets: targets of your own"
            script:
                "../scripts/probes_external.py"
