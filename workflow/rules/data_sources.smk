"""Where the scans come from: ADNI's download or a BIDS data set, and data sets beside it."""

from ldae.conversion.listings import bids_listing
from ldae.conversion.listings import listing
from ldae.conversion.listings import tables_listing
from ldae.files import read_json

COHORT = config["cohort"]
ADNI = COHORT["name"]
PREPROCESSED = COHORT["preprocessed_dir"] is not None
FROM_DOWNLOAD = COHORT["bids_dir"] is None and not PREPROCESSED
FOLDER = "preprocessed_dir" if PREPROCESSED else "bids_dir"


def sources():
    """What the results are of: the download or the data set in its place, and all beside."""
    of = {kind: config["paths"][kind] for kind in ("images", "tables")}
    if not FROM_DOWNLOAD:
        of = {FOLDER: COHORT[FOLDER]}
    beside = {name: about["bids_dir"] for name, about in COHORT["beside"].items()}
    return of | ({"beside": beside} if beside else {})


# Two downloads in one folder would be mixed without a word; data sets beside may come and go.
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
    """The folder of images or tables of the download, with an error that helps if it is absent."""
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


def table_files(wildcards):
    """A param that changes when a table is edited in place (the folder's time does not).

    The synthetic download is made by a rule, which says itself when it changes.
    """
    if "synthetic" in config:
        return "made by the rule synthetic"
    return tables_listing(config["paths"]["tables"])


def images_listing(wildcards):
    """A param that changes with the download's files (the folder's time does not)."""
    if "synthetic" in config:
        return "made by the rule synthetic"
    return listing(config["paths"]["images"], results("cohort/images.tsv"))


# Name of each BIDS data set -> what the configuration says of it and where.
DATASETS = {
    name: {"columns": {}, "values": {}, "section": f"cohort.beside.{name}"} | about
    for name, about in COHORT["beside"].items()
}
if ADNI in DATASETS:
    raise WorkflowError(
        f"cohort.beside: {ADNI} is the name of the main cohort (cohort.name) already. Give one of "
        "them another name."
    )
if PREPROCESSED and (COHORT["beside"] or COHORT["bids_dir"]):
    other = "beside" if COHORT["beside"] else "bids_dir"
    raise WorkflowError(
        f"cohort.preprocessed_dir: no other scans can stand beside preprocessed ones, but "
        f"cohort.{other} is set. Put all preprocessed scans in one folder, or set one of the two."
    )
if not FROM_DOWNLOAD:
    DATASETS[ADNI] = {key: COHORT[key] for key in ("columns", "values")}
    DATASETS[ADNI] |= {"bids_dir": COHORT[FOLDER], "section": "cohort"}
if PREPROCESSED:
    DATASETS[ADNI]["space"] = config["preprocess"]["template"]["name"]

BATCHES = range(COHORT["batches"])
# Parts of the BIDS data set: of batches NAME-NUMBER, of imported data sets their names.
PARTS = [f"{ADNI}-{batch}" for batch in BATCHES] if FROM_DOWNLOAD else [ADNI]
PARTS += list(COHORT["beside"])


def parts():
    """The conversion tables of all parts; their images lie in bids_parts/<part>/, undeclared."""
    return expand(results("cohort/parts/{part}.tsv"), part=PARTS)


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
    key = FOLDER if wildcards.cohort == ADNI else "bids_dir"
    made = PREPROCESSED and "synthetic" in config
    if not (made or Path(folder).is_dir() or Path(part).is_file()):
        raise WorkflowError(
            f"{about['section']}.{key}: the folder '{folder}' does not exist. Set it to the "
            "folder of the BIDS data set (docs/cohorts.md)."
        )
    return folder


def dataset_listing(wildcards):
    """A param that changes when images come or go, or a table is edited."""
    if PREPROCESSED and "synthetic" in config:
        return "made by the rule synthetic"
    return bids_listing(DATASETS[wildcards.cohort]["bids_dir"])
