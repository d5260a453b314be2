"""Cohort: table of scans, split of subjects, ledger and flow of all images, Table 1."""

from ldae.derivatives import RAW_STEPS
from ldae.derivatives import STEPS

# Manifests by preprocessing step: the status of each scan, of one shard and of all its shards.
MANIFEST = {
    step: results("preproc/manifests/%s/shard-{shard}.tsv" % step) for step in STEPS
}
MANIFESTS = {
    step: expand(MANIFEST[step], shard=RAW_SHARDS if step in RAW_STEPS else SHARDS)
    for step in STEPS
    if RAW_SHARDS or step not in RAW_STEPS
}


rule scans:
    input:
        bids=rules.bids.output.bids,
        conversion=rules.bids.output.conversion,
        # ancient: a changed limit on failures must not index the scans again.
        checked=ancient(rules.conversion_check.output.counts),
        schema=ancient(of_project("workflow/schemas/scans.schema.yaml")),
    output:
        scans=results("cohort/scans.tsv"),
        duplicates=results("cohort/duplicates.tsv"),
        shards=expand(results("cohort/shards/shard-{shard}.tsv"), shard=SHARDS),
    log:
        logfile("scans.log"),
    benchmark:
        timing("scans.tsv")
    conda:
        "../../envs/ldae.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(120),
    params:
        columns=content_hash(of_project("workflow/schemas/scans.schema.yaml")),
        shards=dict(raw=RAW_SHARDS, preprocessed=PREPROCESSED_SHARDS),
        preprocessed=preprocessed_cohorts(COHORT),
        external=EXTERNAL_COHORTS,
        source=source("cohort.scans:build_scans", "derivatives:Shards"),
    message:
        "Indexing the BIDS data set with pybids"
    script:
        "../scripts/scans.py"


rule splits:
    input:
        scans=rules.scans.output.scans,
        given=optional_input(config["cohort"]["splits"]["given"]),
    output:
        splits=results("cohort/splits.tsv"),
    log:
        logfile("splits.log"),
    benchmark:
        timing("splits.tsv")
    conda:
        "../../envs/ldae.yaml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        settings=config["cohort"]["splits"],
        # Not an output: it outlives every rerun, so that no subject changes its split.
        frozen=results("cohort/frozen"),
        roles=cohort_roles(COHORT),
        source=source(
            "cohort.splits:make_splits",
            "cohort.splits:split_by_role",
            "cohort.splits:strata",
        ),
    message:
        "Splitting subjects into training, validation and test"
    script:
        "../scripts/splits.py"


# Read in one place: a typing error in a file fails this job, which has no other output to lose.
rule decisions:
    input:
        scans=rules.scans.output.scans,
        conversion=rules.bids.output.conversion,
        ratings=[ancient(path) for path in rating_files()],
    output:
        decisions=results("cohort/decisions.tsv"),
        ratings=results("cohort/ratings.tsv"),
    log:
        logfile("decisions.log"),
    benchmark:
        timing("decisions.tsv")
    conda:
        "../../envs/ldae.yaml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        files=rating_files(),
        content=[content_hash(path) for path in rating_files()],
        rule=config["cohort"]["disagreement"],
        source=source(
            "cohort.ratings:read_all_ratings",
            "cohort.ratings:joined_ratings",
            "cohort.ratings:decisions_of",
            "cohort.ratings:known_scans",
        ),
    message:
        "Reading the decisions of people on scans"
    script:
        "../scripts/decisions.py"


rule ledger:
    input:
        **MANIFESTS,
        conversion=rules.bids.output.conversion,
        images=rules.check_download.output.images if FROM_DOWNLOAD else [],
        passed_over=(rules.downloaded_scans.output.passed_over if FROM_DOWNLOAD else []),
        scans=rules.scans.output.scans,
        duplicates=rules.scans.output.duplicates,
        splits=rules.splits.output.splits,
        volumes=results("cache/volumes/index.tsv"),
        decisions=rules.decisions.output.decisions,
    output:
        ledger=results("cohort/ledger.tsv"),
        flow=results("tables/flow.tsv"),
        table1=results("tables/cohort.tsv"),
    log:
        logfile("ledger.log"),
    benchmark:
        timing("ledger.tsv")
    conda:
        "../../envs/ldae.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        cohort=config["cohort"]["name"],
        preprocessed=preprocessed_cohorts(COHORT),
        source=source(
            "cohort.ledger:build_ledger",
            "cohort.ledger:check_images",
            "cohort.ratings:load_decisions",
            "cohort.flow:flow_table",
            "cohort.table1:cohort_table",
            "conversion.downloaded_scans:instead_of",
            "derivatives:read_manifests",
        ),
    message:
        "Writing the ledger and flow of all images, and Table 1"
    script:
        "../scripts/ledger.py"


rule cohort:
    input:
        rules.ledger.output,
