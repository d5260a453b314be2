"""Data sources: ADNI's download or a BIDS data set, and further data sets beside it."""

from ldae.config import cohort_roles
from ldae.config import external_cohorts
from ldae.config import folder_key
from ldae.config import preprocessed_cohorts, study_downloads
from ldae.conversion.change_hashes import bids_hash
from ldae.conversion.change_hashes import download_hash
from ldae.conversion.change_hashes import study_hash, tables_hash
from ldae.conversion.studies import LEFT_OUT, study_columns
from ldae.files import read_json

COHORT = config["cohort"]
MAIN_COHORT = COHORT["name"]
EXTERNAL_COHORTS = external_cohorts(COHORT)  # test sets that are never trained on
PREPROCESSED = COHORT["preprocessed_dir"] is not None
FROM_DOWNLOAD = all(
    COHORT[key] is None for key in ("study", "bids_dir", "preprocessed_dir")
)
# Downloads of other studies, by the name of the data set that Clinica makes of each.
STUDY_DOWNLOADS = study_downloads(config)


def sources():
    """Folders that the results come from: the download or its replacement, and data sets beside."""
    of = {kind: config["paths"][kind] for kind in ("images", "tables")}
    if not FROM_DOWNLOAD and MAIN_COHORT not in STUDY_DOWNLOADS:
        of = {folder_key(COHORT): COHORT[folder_key(COHORT)]}
    beside = {
        name: about["images" if "study" in about else folder_key(about)]
        for name, about in COHORT["beside"].items()
    }
    return of | ({"beside": beside} if beside else {})


# Results of two downloads in one folder would be mixed silently, so that is refused. Data sets
# beside the main cohort may be added and removed.
DOWNLOAD = Path(RESULTS) / "cohort/download.json"
STAGING = {"resources", "resources_list"}  # targets that touch no results
if ASKED and DOWNLOAD.is_file() and not (TARGETS and TARGETS <= STAGING):
    of, wanted = (
        {key: value for key, value in found.items() if key != "beside"}
        for found in (read_json(DOWNLOAD), sources())
    )
    if of != wanted:
        raise WorkflowError(
            f"paths.results: the results in '{RESULTS}' are of another download ({of}) than the "
            f"one asked for ({wanted}), such as the demo's. Keep them under another name (`mv "
            f"{RESULTS} {RESULTS}-earlier`), or set paths.results to a folder of its own; or, if "
            f"the download has only moved, delete {DOWNLOAD}."
        )


def download(kind):
    """The download's folder of images or tables; an error says what to do if it is absent."""
    folder = config["paths"][kind]

    def check(wildcards):
        if not ("synthetic" in config or Path(folder).is_dir() or DOWNLOAD.is_file()):
            raise WorkflowError(
                f"paths.{kind}: the folder '{folder}' does not exist. Set paths.{kind} in "
                "config/config.yaml to where your ADNI download lies (docs/adni.md), "
                "or run the synthetic one by: make demo"
            )
        return folder

    return check


def tables_change_hash(wildcards):
    """A param that changes when a table is edited in place (the folder's time does not).

    The synthetic download is made by a rule, on which the tables then depend.
    """
    if "synthetic" in config:
        return "made by the rule synthetic"
    return tables_hash(config["paths"]["tables"])


def images_change_hash(wildcards):
    """A param that changes with the download's files (the folder's time does not)."""
    if "synthetic" in config:
        return "made by the rule synthetic"
    return download_hash(config["paths"]["images"], results("cohort/images.tsv"))


# Name of each BIDS data set -> its configuration, and the section that holds it.
DATASETS = {
    name: {"columns": {}, "values": {}, "section": f"cohort.beside.{name}"} | about
    for name, about in COHORT["beside"].items()
}
if MAIN_COHORT in DATASETS:
    raise WorkflowError(
        f"cohort.beside: {MAIN_COHORT} is already the name of the main cohort (cohort.name). Give "
        "one of them another name."
    )
if not FROM_DOWNLOAD:
    keys = ("columns", "values", "bids_filter", "bids_dir", "preprocessed_dir")
    DATASETS[MAIN_COHORT] = {key: COHORT[key] for key in keys} | {"section": "cohort"}
for name, about in STUDY_DOWNLOADS.items():
    mapped = study_columns({**DATASETS[name], "study": about["study"]})
    DATASETS[name] |= mapped | {"bids_dir": about["bids"], "left_out": LEFT_OUT}
for about in DATASETS.values():
    if None not in (about.get("bids_dir"), about.get("preprocessed_dir")):
        raise WorkflowError(
            f"{about['section']}: bids_dir and preprocessed_dir are both set. Set the one that "
            "holds the scans, and name another data set below cohort.beside."
        )
    if folder_key(about) == "preprocessed_dir":
        if about.get("bids_filter"):
            raise WorkflowError(
                f"{about['section']}.bids_filter: it chooses among raw heads (bids_dir), and does "
                "not apply to preprocessed_dir. Remove it."
            )
        about["space"] = config["preprocess"]["template"]["name"]

# Name of each cohort that has a table of MRIQC -> that table.
MRIQC = {
    name: about["mriqc"]
    for name, about in {MAIN_COHORT: COHORT, **COHORT["beside"]}.items()
    if about.get("mriqc")
}
for name, path in MRIQC.items():
    if not Path(path).is_file():
        section = "cohort" if name == MAIN_COHORT else f"cohort.beside.{name}"
        raise WorkflowError(
            f"{section}.mriqc: the table '{path}' does not exist. Set it to MRIQC's "
            "group_T1w.tsv, or leave it out."
        )

BATCHES = range(COHORT["batches"])
# Parts of the BIDS data set: NAME-NUMBER is a batch of the download, NAME an imported data set.
PARTS = (
    [f"{MAIN_COHORT}-{batch}" for batch in BATCHES] if FROM_DOWNLOAD else [MAIN_COHORT]
)
PARTS += list(COHORT["beside"])


def part_tables():
    """The conversion tables of all parts. Their images, in bids_parts/<part>/, are not declared."""
    return expand(results("cohort/parts/{part}.tsv"), part=PARTS)


def dataset_settings(*keys):
    """A param with the configured values of a data set, by its wildcard `cohort`."""
    return lambda wildcards: {
        key: DATASETS[wildcards.cohort][key]
        for key in keys
        if key in DATASETS[wildcards.cohort]
    }


def is_synthetic(cohort):
    """Whether a rule makes this data set (rules/synthetic.smk)."""
    if "synthetic" not in config:
        return False
    if cohort == MAIN_COHORT:
        return PREPROCESSED
    return cohort in config["synthetic"]["beside"]


def synthetic_settings(settings, preprocessed):
    """Arguments of a synthetic cohort: a download, or scans that come preprocessed."""
    own = "variation" if preprocessed else "tables"
    keys = ("subjects", "visits", "spacing", "seed", own)
    template = {"template": config["preprocess"]["template"]["name"]}
    return {key: settings[key] for key in keys} | (template if preprocessed else {})


def dataset_folder(wildcards):
    """The folder of a data set; an error says what to do if it is absent."""
    about = DATASETS[wildcards.cohort]
    key, part = folder_key(about), results(f"cohort/parts/{wildcards.cohort}.tsv")
    made = is_synthetic(wildcards.cohort) or wildcards.cohort in STUDY_DOWNLOADS
    if not (made or Path(about[key]).is_dir() or Path(part).is_file()):
        raise WorkflowError(
            f"{about['section']}.{key}: the folder '{about[key]}' does not exist. Set it to the "
            "folder of the BIDS data set (docs/cohorts.md)."
        )
    return about[key]


def dataset_change_hash(wildcards):
    """A param that changes when images are added or removed, or a table is edited."""
    if is_synthetic(wildcards.cohort):
        return "made by the rule synthetic"
    if wildcards.cohort in STUDY_DOWNLOADS:
        return "made by the rule convert_study"
    about = DATASETS[wildcards.cohort]
    return bids_hash(about[folder_key(about)])


def study_folder(kind):
    """A study's folder of images or tables; an error says what to do if it is absent."""

    def check(wildcards):
        about = STUDY_DOWNLOADS[wildcards.cohort]
        if not (Path(about[kind]).is_dir() or Path(about["bids"]).is_dir()):
            raise WorkflowError(
                f"{about['section']}.{kind}: the folder '{about[kind]}' does not exist. Set it to "
                "the study's download (docs/studies.md)."
            )
        return about[kind]

    return check


def study_change_hash(wildcards):
    """A param that changes with the files of a study's download."""
    about = STUDY_DOWNLOADS[wildcards.cohort]
    left_out = Path(about["bids"], LEFT_OUT)
    return study_hash(about["images"], about["tables"], left_out)
