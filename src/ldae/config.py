"""Validation of the configuration; errors name the key, its value and what is allowed."""

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from ldae.config_checks import (
    check_baselines,
    check_external_encoders,
    check_fine_tuning,
    check_planted,
    check_split_systems,
    check_start_noise,
)
from ldae.errors import UserError, require

AUTO = "auto"  # value of a key that a job chooses by the machine it runs on
REFERENCE = "docs/configuration.md"
MRIQC = "mriqc_"  # start of the names of MRIQC's measures, in tables and bounds
LINEAR_KEYS = ("kind", "components")  # of ldae.encoder
# Trainings that share a section of the configuration.
SECTIONS = {
    "supervised_diagnosis": "supervised",
    "supervised_age": "supervised",
    "fine_tuning": "supervised",
}


def slice_branch(encoder: Mapping[str, Any]) -> dict[str, Any]:
    """Section ``ldae.encoder`` for the branch of slices alone, without the keys of the other one.

    So what is trained on slices does not depend on the keys of the linear branch.
    """
    return {key: value for key, value in encoder.items() if key not in LINEAR_KEYS}


def linear_branch(encoder: Mapping[str, Any]) -> dict[str, Any]:
    """Section ``ldae.encoder`` for the linear branch alone: the reverse of :func:`slice_branch`."""
    return {key: value for key, value in encoder.items() if key in LINEAR_KEYS}


def augmentation(config: Mapping[str, Any]) -> dict[str, Any]:
    """Section ``augmentation`` below its own name if it is on, else nothing.

    So a training without it does not depend on its keys.
    """
    section = config.get("augmentation", {})
    if not (section.get("probability", 0) > 0 or section.get("flip", 0) > 0):
        return {}
    return {"augmentation": dict(section)}


def section_name(stage: str) -> str:
    """Name of the section of the configuration that a training reads."""
    return SECTIONS.get(stage, stage)


def diagnosis_classes(evaluation: Mapping[str, Any]) -> tuple[str, str]:
    """Negative and positive diagnosis of the diagnosis probe.

    Args:
        evaluation: Section ``evaluation`` of the configuration.
    """
    negative, positive = evaluation["targets"]["diagnosis"]["classes"]
    return negative, positive


def check_config(config: Mapping[str, Any], schema: str | Path) -> None:
    """Check ``config`` against a JSON schema (YAML file).

    Raises:
        UserError: the configuration has faults. For each the message names the key's full path, its
            value and what is allowed; for an unknown key, the known one closest to it. Or a data
            set to make (``synthetic.beside``) has no folder in ``cohort.beside``; or a measure of
            MRIQC is bounded, and no cohort has a table of MRIQC.
    """
    rules = _read_schema(schema)
    errors = sorted(Draft202012Validator(rules).iter_errors(config), key=lambda e: list(e.path))
    if errors:
        faults = "; ".join(dict.fromkeys(map(_sentence, errors)))
        raise UserError(
            f"The configuration (config/config.yaml and the files given on top of it) is wrong: "
            f"{faults}. {REFERENCE} lists all keys."
        )
    require(
        not ("synthetic" in config and config["cohort"]["study"]),
        "cohort.study and a section synthetic are both set, and both fill paths.images. Leave one "
        "out.",
    )
    made = config.get("synthetic", {}).get("beside", {})
    beside = config["cohort"]["beside"]
    require(
        not (config["cohort"]["study"] and config["cohort"]["bids_dir"]),
        "cohort.study and cohort.bids_dir are both set. Set the one that holds the scans, and name "
        "another data set below cohort.beside.",
    )
    lost = [name for name in made if not beside.get(name, {}).get("preprocessed_dir")]
    require(
        not lost,
        f"synthetic.beside makes the data set(s) {', '.join(lost)}, but nothing reads them: set "
        "cohort.beside.NAME.preprocessed_dir for each, the folder to make.",
    )
    check_external_encoders(config["evaluation"]["external_encoders"])
    check_split_systems(config["evaluation"])
    check_planted(config["evaluation"])
    check_baselines(config)
    check_start_noise(config["evaluation"]["start_noise"])
    check_fine_tuning(config)
    bounded = mriqc_bounds(config)
    require(
        not bounded or any(about.get("mriqc") for about in (config["cohort"], *beside.values())),
        f"preprocess.qc bounds {', '.join(bounded)}, but there is no table of MRIQC: set "
        "cohort.mriqc or cohort.beside.NAME.mriqc.",
    )


def restore_types(config: dict[str, Any], given: Mapping[str, Any], schema: str | Path) -> None:
    """Restore numbers, booleans and null inside the mappings of ``--config``, in place.

    Snakemake reads ``--config 'ldae={batch_size: 8}'`` as text. A text becomes the value that it is
    in YAML where the schema allows that value.

    Args:
        config: The whole configuration, with ``given`` on top.
        given: What the command line gave.
        schema: JSON schema (YAML file).
    """
    texts = list(_nested_texts(given, ()))
    validator = Draft202012Validator(_read_schema(schema) if texts else {})
    for path, text in texts:
        holder = _holder(config, path)
        if holder is None or holder[path[-1]] != text:
            continue
        try:
            holder[path[-1]] = yaml.safe_load(text)
        except yaml.YAMLError:
            continue
        places = (tuple(error.absolute_path) for error in validator.iter_errors(config))
        if any(place[: len(path)] == path for place in places):
            holder[path[-1]] = text


def _read_schema(path: str | Path) -> dict[str, Any]:
    """Content of a JSON schema (YAML file), which every start of Snakemake reads.

    libyaml reads it in a sixth of the time, where PyYAML was built with it.
    """
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(Path(path).read_text(), loader)


def _nested_texts(value: Any, path: tuple) -> Iterator[tuple[tuple, str]]:
    """Place and text of each string inside mappings and lists."""
    if isinstance(value, str) and len(path) > 1:
        yield path, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _nested_texts(inner, (*path, key))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _nested_texts(inner, (*path, place))


def _holder(config: Any, path: tuple) -> Any:
    """The mapping or list of ``config`` that has the last key of a path; None: there is none."""
    for key in path[:-1]:
        try:
            config = config[key]
        except (KeyError, IndexError, TypeError):
            return None
    has_key = isinstance(config, dict) and path[-1] in config
    has_place = isinstance(config, list) and path[-1] in range(len(config))
    return config if has_key or has_place else None


def mriqc_bounds(config: Mapping[str, Any]) -> list[str]:
    """Measures of MRIQC that have a bound, such as ``mriqc_cjv``."""
    return [key for key in config["preprocess"]["qc"] if key.startswith(MRIQC)]


def read_configuration(path: Path) -> dict[str, Any]:
    """Content of a configuration file; an empty one has none.

    Raises:
        UserError: the file is missing, is no YAML, or holds no keys.
    """
    require(path.is_file(), f"{path} is no file: name a configuration file (YAML).")
    try:
        content = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"{path}{where} is not YAML: mend it there.") from error
    require(
        content is None or isinstance(content, dict), f"{path} holds no keys of a configuration."
    )
    return content or {}


def merged(*configurations: Mapping[str, Any]) -> dict[str, Any]:
    """Configurations on top of each other, merged key by key as Snakemake merges its files."""
    whole: dict[str, Any] = {}
    for each in configurations:
        for key, value in each.items():
            both = isinstance(value, Mapping) and isinstance(whole.get(key), Mapping)
            whole[key] = merged(whole[key], value) if both else value
    return whole


def only_synthetic_brains(config: Mapping[str, Any]) -> bool:
    """Whether all brains that the models are trained on are made by the rules of ``synthetic``.

    Not if another data set stands beside the cohort, if the autoencoder starts from pretrained
    weights, or if the models are the published ones. ImageNet has no brains.
    """
    if "synthetic" not in config:
        return False
    cohort, made = config["cohort"], Path(config["synthetic"]["out"])
    sources = [config["paths"]["images"]]
    if cohort["preprocessed_dir"] is not None or cohort["bids_dir"] is not None:
        sources = [path for path in (cohort["preprocessed_dir"], cohort["bids_dir"]) if path]
    return (
        all(Path(path).is_relative_to(made) for path in sources)
        and set(cohort["beside"]) <= set(config["synthetic"]["beside"])
        and config["autoencoder"]["pretrained"] is None
        and not any(config["published"].values())
    )


def check_container(image: str | None, asked: bool) -> None:
    """Check that a container image is set if jobs shall run in one.

    Without an image, the workflow would run the jobs outside of any container and not say so.

    Args:
        image: ``software.container``: a file, or an address with ``://``.
        asked: Whether the workflow was called with ``--sdm apptainer``.

    Raises:
        UserError: jobs shall run in an image, but none is set or its file does not exist.
    """
    how = "docs/install.md says how to build one, and what else to set."
    require(
        not asked or image is not None,
        f"With --sdm apptainer set software.container to the image that jobs run in; {how}",
    )
    require(
        not asked or "://" in image or Path(image).is_file(),
        f"software.container is {image}, which does not exist; {how}",
    )


def _sentence(error: ValidationError) -> str:
    key = ".".join(str(part) for part in error.absolute_path)
    if error.validator == "additionalProperties":
        known = list(error.schema["properties"])
        return ", ".join(
            _unknown(f"{key}.{name}".lstrip("."), name, known)
            for name in sorted(map(str, set(error.instance) - set(known)))
        )
    if error.validator == "required":
        lacking = [name for name in error.validator_value if name not in error.instance]
        return f"the key(s) {', '.join(f'{key}.{n}'.lstrip('.') for n in lacking)} are missing"
    if error.validator == "enum":
        return f"{key} is {error.instance!r}, allowed: {', '.join(map(str, error.validator_value))}"
    return f"{key} is {error.instance!r}: {error.message}"


def _unknown(path: str, name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}"
    return f"unknown key {path} ({hint})"


def folder_key(dataset: Mapping[str, Any]) -> str:
    """Key of a BIDS data set's folder: of raw heads, or of scans that came preprocessed.

    Args:
        dataset: config["cohort"], or one of config["cohort"]["beside"].
    """
    return "bids_dir" if dataset.get("preprocessed_dir") is None else "preprocessed_dir"


def study_downloads(config: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Downloads of other studies than ADNI that Clinica converts, by the cohort's name.

    Returns:
        For each: study (a key of :data:`ldae.conversion.studies.STUDIES`), images, tables
        (folders), bids (the folder that the conversion makes, below the results) and section (of
        the configuration).
    """
    cohort, paths = config["cohort"], config["paths"]
    found = {
        name: {key: about[key] for key in ("study", "images", "tables")}
        | {"section": f"cohort.beside.{name}"}
        for name, about in cohort["beside"].items()
        if "study" in about
    }
    if cohort["study"]:
        found[cohort["name"]] = {
            "study": cohort["study"],
            "images": paths["images"],
            "tables": paths["tables"],
            "section": "paths",
        }
    return {
        name: about | {"bids": f"{paths['results']}/studies/{name}"}
        for name, about in found.items()
    }


def preprocessed_cohorts(cohort: Mapping[str, Any]) -> list[str]:
    """Names of the data sets of config["cohort"] whose scans came preprocessed."""
    datasets = {cohort["name"]: cohort, **cohort["beside"]}
    return [name for name, about in datasets.items() if folder_key(about) == "preprocessed_dir"]


def cohort_roles(cohort: Mapping[str, Any]) -> dict[str, str]:
    """Role of each data set beside the main cohort: ``train``, ``test`` or ``both``.

    Args:
        cohort: config["cohort"].
    """
    return {name: about.get("role", "both") for name, about in cohort["beside"].items()}


def external_cohorts(cohort: Mapping[str, Any]) -> list[str]:
    """Names of the external test sets: the data sets of config["cohort"] of the role ``test``."""
    return [name for name, role in cohort_roles(cohort).items() if role == "test"]
