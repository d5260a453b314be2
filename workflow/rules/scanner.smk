"""Scanner and fairness: what codes tell of site and machine, confounding, scores by group."""

from ldae.config import folder_key

SCANNER = config["evaluation"]["scanner"]
FAIRNESS = config["evaluation"]["fairness"]

# Tables of the targets that have one of their own, by target; and what they are joined by.
TARGET_TABLES = {
    name: {key: path for key, path in target_files(target).items() if key != "dates"}
    for name, target in PROBE_TARGETS.items()
    if target.joined
}

if SCANNER or FAIRNESS:

    rule acquisitions:
        input:
            scans=rules.scans.output.scans,
            conversion=rules.bids.output.conversion,
            bids=rules.bids.output.bids,
            # ancient: a change of their tables changes conversion.tsv.
            datasets=[ancient(about[folder_key(about)]) for about in DATASETS.values()],
        output:
            results("cohort/acquisitions.tsv"),
        log:
            logfile("acquisitions.log"),
        benchmark:
            timing("acquisitions.tsv")
        conda:
            "../../envs/ldae.yaml"
        resources:
            mem_mb=growing(2000),
            runtime=growing(60),
        params:
            cohorts=list(DATASETS),
            # A function: braces of the expression are no wildcards.
            site=lambda wildcards: config["evaluation"]["target_splits"]["site"],
            source=source("cohort.acquisitions:acquisition_table"),
        message:
            "Reading site and scanner of every scan"
        script:
            "../scripts/acquisitions.py"


if SCANNER:
    SCANNED = {
        name: path for name, path in EMBEDDINGS.items() if name in SCANNER["systems"]
    }

    rule scanner:
        input:
            **SCANNED,
            latents=multiext(results("cache/latents/"), "store.json", "index.tsv"),
            pca=rules.latents_pca.output[0],
            volumes=rules.tissue_volumes.output[0],
            visits=rules.scans.output.scans,
            acquisitions=rules.acquisitions.output[0],
        output:
            scanner=results("tables/scanner.tsv"),
            cost=results("tables/scanner_cost.tsv"),
        log:
            logfile("scanner.log"),
        benchmark:
            timing("scanner.tsv")
        conda:
            "../../envs/ldae.yaml"
        resources:
            mem_mb=growing(8000),
            runtime=growing(240),
        params:
            seed=config["seed"],
            systems=list(SCANNED),
            classes=CLASSES,
            settings=evaluation("scanner", "bootstrap")
            | part_of("probes", "cv_folds", "min_subjects"),
            source=source("evaluation.scanner.evaluate:evaluate_scanner"),
        message:
            "Asking what codes tell of the scanner, and what harmonisation costs"
        script:
            "../scripts/scanner.py"

    rule confounding:
        input:
            **{
                f"{kind}_of_{name}": path
                for name, files in TARGET_TABLES.items()
                for kind, path in files.items()
            },
            dates=(
                rules.study_tables.output.tables
                if FROM_DOWNLOAD and any(one.date for one in PROBE_TARGETS.values())
                else []
            ),
            volumes=multiext(results("cache/volumes/"), "store.json", "index.tsv"),
            visits=rules.scans.output.scans,
            acquisitions=rules.acquisitions.output[0],
        output:
            table=results("tables/confounding.tsv"),
            counts=results("tables/confounding_counts.tsv"),
        log:
            logfile("confounding.log"),
        benchmark:
            timing("confounding.tsv")
        conda:
            "../../envs/ldae.yaml"
        resources:
            mem_mb=growing(4000),
            runtime=growing(60),
        params:
            seed=config["seed"],
            settings=evaluation("targets")
            | part_of("scanner", "columns", "permutations"),
            study_tables={
                name: target.study_table
                for name, target in PROBE_TARGETS.items()
                if target.study_table
            },
            dated=[name for name, target in PROBE_TARGETS.items() if target.date],
            tables=[name for name, target in PROBE_TARGETS.items() if target.table],
            change_hash=(
                tables_change_hash
                if any(target.study_table for target in PROBE_TARGETS.values())
                else None
            ),
            source=source(
                "evaluation.scanner.confounding:evaluate_confounding",
                "evaluation.probes.joined_table:scan_list",
                "evaluation.probes.joined_table:study_table",
            ),
        message:
            "Comparing targets between sites and scanners"
        script:
            "../scripts/confounding.py"


if FAIRNESS:

    rule fairness:
        input:
            predictions=[
                results(f"evaluation/predictions_{name}.tsv") for name in PROBE_TARGETS
            ],
            scans=rules.scans.output.scans,
            splits=rules.splits.output.splits,
            acquisitions=rules.acquisitions.output[0],
        output:
            results("tables/fairness.tsv"),
        log:
            logfile("fairness.log"),
        benchmark:
            timing("fairness.tsv")
        conda:
            "../../envs/ldae.yaml"
        resources:
            mem_mb=growing(4000),
            runtime=growing(60),
        params:
            seed=config["seed"],
            targets=list(PROBE_TARGETS),
            settings=evaluation("targets", "fairness", "bootstrap")
            | part_of("probes", "min_subjects"),
            source=source("evaluation.scanner.fairness:evaluate_fairness"),
        message:
            "Scoring every target by group of people"
        script:
            "../scripts/fairness.py"
