"""BIDS data sets that others made: a part each, which rule bids merges with ADNI's."""

from ldae.cohort.listing import bids_listing

_MAIN = config["cohort"]
# Name of each data set -> what the configuration says of it and where.
DATASETS = {
    name: {"columns": {}, "values": {}, "section": f"cohort.beside.{name}"} | about
    for name, about in _MAIN["beside"].items()
}
if _MAIN["name"] in DATASETS:
    raise WorkflowError(
        f"cohort.beside: {_MAIN['name']} is the name of the main cohort (cohort.name) already. "
        "Give one of them another name."
    )
if _MAIN["bids_dir"]:
    DATASETS[_MAIN["name"]] = {
        key: _MAIN[key] for key in ("bids_dir", "columns", "values")
    } | {"section": "cohort"}


def dataset(*keys):
    """Params: the values that the configuration has for a data set, by its name."""
    return lambda wildcards: {
        key: DATASETS[wildcards.cohort][key]
        for key in keys
        if key in DATASETS[wildcards.cohort]
    }


def dataset_folder(wildcards):
    """The folder of a data set, with an error that helps if it is absent."""
    about = DATASETS[wildcards.cohort]
    folder, part = about["bids_dir"], results(f"cohort/parts/{wildcards.cohort}.tsv")
    if not (Path(folder).is_dir() or Path(part).is_file()):
        raise WorkflowError(
            f"{about['section']}.bids_dir: the folder '{folder}' does not exist. Set it to the "
            "folder of the BIDS data set (docs/cohorts.md)."
        )
    return folder


def dataset_listing(wildcards):
    """A param that changes when images come or go, or a table is edited."""
    return bids_listing(DATASETS[wildcards.cohort]["bids_dir"])


rule import_bids:
    input:
        bids_dir=dataset_folder,
    output:
        conversion=results("cohort/parts/{cohort}.tsv"),
    log:
        logfile("import_bids/{cohort}.log"),
    benchmark:
        timing("import_bids/{cohort}.tsv")
    # A batch of the conversion is NAME-NUMBER; names have no hyphen.
    wildcard_constraints:
        cohort="|".join(DATASETS) or "(?!)",
    conda:
        "../../envs/ldae.yaml"
    threads: config["cohort"]["convert_jobs"]
    resources:
        mem_mb=lambda wildcards, threads: 2000 + 1000 * threads,
        runtime=240,
    params:
        part=results("bids_parts/{cohort}"),
        listing=dataset_listing,
        settings=dataset("columns", "values", "prefix", "section"),
        source=source("cohort/external.py"),
    message:
        "Importing the BIDS data set {wildcards.cohort}"
    script:
        "../scripts/import_bids.py"
