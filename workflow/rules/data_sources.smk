"""Data sources: ADNI's download or a BIDS data set, and further data sets beside it."""

from ldae.conversion.change_hashes import bids_hash
from ldae.conversion.change_hashes import download_hash
from ldae.conversion.change_hashes import tables_hash
from ldae.files import read_json

COHORT = config["cohort"]
MAIN_COHORT = COHORT["name"]
PREPROCESSED = COHORT["preprocessed_dir"] is not None
FROM_DOWNLOAD = COHORT["bids_dir"] is None and not PREPROCESSED
FOLDER_KEY = "preprocessed_dir" if PREPROCESSED else "bids_dir"


def sources():
    """Folders that the results come from: the download or its replacement, and data sets beside."""
    of = {kind: config["paths"][kind] for kind in ("images", "tables")}
    if not FROM_DOWNLOAD:
        of = {FOLDER_KEY: COHORT[FOLDER_KEY]}
    beside = {name: about["bids_dir"] for name, about in COHORT["beside"].items()}
    return of | ({"beside": beside} if beside else {})


# Results of two downloads in one folder would be mixed silently, so that is refused. Data sets
# beside the main cohort may be added and removed.
DOWNLOAD = Path(RESULTS) / "cohort/download.json"
if DOWNLOAD.is_file():
    of, wanted = (
        {key: value for key, value in found.items() if key != "beside"}
        for found in (read_json(DOWNLOAD), sources())
    )
    if of != wanted:
        raise WorkflowError(
            f"paths.results: the results in '{RESULTS}' are of another download ({of}) than the "
            f"one asked for ({wanted}). Set paths.results to a folder of its own; or, if the "
            f"download has only moved, delete {DOWNLOAD}."
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
if PREPROCESSED and (COHORT["beside"] or COHORT["bids_dir"]):
    other = "beside" if COHORT["beside"] else "bids_dir"
    raise WorkflowError(
        f"cohort.preprocessed_dir: preprocessed scans cannot be combined with other scans, but "
        f"cohort.{other} is set. Put all preprocessed scans in one folder, or set only one of the two."
    )
if not FROM_DOWNLOAD:
    DATASETS[MAIN_COHORT] = {key: COHORT[key] for key in ("columns", "values")}
    DATASETS[MAIN_COHORT] |= {"bids_dir": COHORT[FOLDER_KEY], "section": "cohort"}
if PREPROCESSED:
    DATASETS[MAIN_COHORT]["space"] = config["preprocess"]["template"]["name"]

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


def dataset_folder(wildcards):
    """The folder of a data set; an error says what to do if it is absent."""
    about = DATASETS[wildcards.cohort]
    folder, part = about["bids_dir"], results(f"cohort/parts/{wildcards.cohort}.tsv")
    key = FOLDER_KEY if wildcards.cohort == MAIN_COHORT else "bids_dir"
    generated = PREPROCESSED and "synthetic" in config
    if not (generated or Path(folder).is_dir() or Path(part).is_file()):
        raise WorkflowError(
            f"{about['section']}.{key}: the folder '{folder}' does not exist. Set it to the "
            "folder of the BIDS data set (docs/cohorts.md)."
        )
    return folder


def dataset_change_hash(wildcards):
    """A param that changes when images are added or removed, or a table is edited."""
    if PREPROCESSED and "synthetic" in config:
        return "made by the rule synthetic"
    return bids_hash(DATASETS[wildcards.cohort]["bids_dir"])
