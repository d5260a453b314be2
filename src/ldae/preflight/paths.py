"""Check of paths and study tables: the data are where the configuration says, results writable.

The study tables must be all that Clinica needs, each one once, complete and in a known form.
"""

import os
import tempfile
from pathlib import Path

from ldae.config import folder_key
from ldae.conversion.download import DEPTH, PTID, DownloadFolders, find_folders
from ldae.conversion.study_tables import AUXILIARY, OPTIONAL, REQUIRED, read_download
from ldae.errors import UserError
from ldae.preflight.report import ERROR, OK, WARNING, Finding, some
from ldae.preflight.run_facts import Facts

TABLES_TOPIC = "tables"
GET = "Get it from the IDA, Search & Download (docs/adni.md)."
TOPIC = "paths"
LOOKED_AT = 3000  # folders opened at most in the search for a misplaced download
DEEPEST = 7  # levels below the configured folder that are searched
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar")


def check_tables(facts: Facts) -> list[Finding]:
    """Read ADNI's study tables as the rule study_tables does; report every fault and every form."""
    folder = facts.path("tables")
    absent = not folder.is_dir() or images_in(folder)  # reported under paths
    if absent or not facts.from_download:
        return []
    try:
        tables, auxiliary = read_download(folder)
    except UserError as error:
        _, *faults = str(error).splitlines()
        return [
            Finding(ERROR, TABLES_TOPIC, line.strip(), "" if "in the IDA:" in line else GET)
            for line in faults
            if line.startswith("  ")
        ]
    found = []
    for name in REQUIRED:
        if name in tables:
            about = tables[name]
            text = f"{name}: {about.files[0]}, {len(about.table):,} rows, form {about.form}"
            found.append(Finding(OK, TABLES_TOPIC, text))
        else:
            text = f"{name}: will be made from MRIQC ({REQUIRED[name].purpose})"
            found.append(Finding(OK, TABLES_TOPIC, text))
    there = [name for name in (*OPTIONAL, *AUXILIARY) if name in tables or name in auxiliary]
    found.append(Finding(OK, TABLES_TOPIC, f"optional tables: {some(there, 20) or 'none'}"))
    if "CDR" not in tables:
        text = "CDR is missing: the clinical dementia rating will be unknown at every visit"
        found.append(Finding(WARNING, TABLES_TOPIC, text, GET))
    return found


def check_sources(facts: Facts) -> tuple[list[Finding], DownloadFolders | None]:
    """Check the folders of images, tables and BIDS data sets.

    Returns:
        The findings, and the subjects' folders of the download (None: there is no download).
    """
    found: list[Finding] = []
    folders = None
    if facts.from_download:
        images, tables = facts.path("images"), facts.path("tables")
        if facts.to_make:
            found.append(Finding(OK, TOPIC, f"{images} and {tables} will be made (rule synthetic)"))
        else:
            folders, about = _images(images)
            found += [*about, *_tables(tables)]
    elif not facts.config["cohort"]["study"]:
        key, place = facts.dataset
        text = f"{place} will be made (rule synthetic)"
        found += [Finding(OK, TOPIC, text)] if facts.to_make else _bids(key, place)
    for name, about in facts.config["cohort"]["beside"].items():
        if name in facts.studies:  # see ldae.preflight.studies
            continue
        key = folder_key(about)
        if name in facts.synthetic_beside and not Path(about[key]).is_dir():
            found.append(Finding(OK, TOPIC, f"{about[key]} will be made (rule synthetic_{name})"))
        else:
            found += _bids(f"cohort.beside.{name}.{key}", Path(about[key]))
    return found, folders


def _images(folder: Path) -> tuple[DownloadFolders | None, list[Finding]]:
    if fault := _closed("paths.images", folder, "the folder of ADNI's images (docs/adni.md)"):
        return None, [fault]
    try:
        folders = find_folders(folder)
    except UserError as error:
        return None, [Finding(ERROR, TOPIC, f"paths.images: {error}", "Ask for read permission.")]
    if not folders.subjects:
        return None, [_no_subjects(folder)]
    text = f"paths.images: {len(folders.subjects):,} subjects' folders in {folder}"
    found = [Finding(OK, TOPIC, text)]
    packed = [p.name for p in folders.elsewhere if p.suffix.lower() in ARCHIVES]
    if packed:
        text = f"paths.images: {folder} has archives that may not be unpacked: {some(packed)}"
        found.append(Finding(WARNING, TOPIC, text, "Unpack them there, or remove them."))
    closed = [p for p in folders.elsewhere if p.is_dir() and not os.access(p, os.R_OK | os.X_OK)]
    if closed:
        text = f"paths.images: folders that cannot be opened: {some(closed)}"
        found.append(Finding(WARNING, TOPIC, text, "Ask for read permission."))
    return folders, found


def _no_subjects(folder: Path) -> Finding:
    """The error of a folder without subjects' folders: the usual mistakes first."""
    names = sorted(entry.name for entry in os.scandir(folder))
    inside = next((p for p in (folder, *folder.parents) if PTID.fullmatch(p.name)), None)
    text = f"paths.images: no subject's folder (such as 002_S_0413) in {folder}"
    if inside is not None:
        text += f": it is inside the folder of subject {inside.name}"
        return Finding(ERROR, TOPIC, text, f"Set paths.images to {inside.parent}")
    if deeper := _search(folder):
        text += f" or the {DEPTH - 1} levels below it: they lie in {deeper}"
        return Finding(ERROR, TOPIC, text, f"Set paths.images to {deeper}")
    if any(name.startswith("sub-") for name in names):
        text += ": it is a BIDS data set (folders sub-*)"
        return Finding(ERROR, TOPIC, text, f"Set cohort.bids_dir to {folder} (docs/cohorts.md).")
    if any(name.lower().endswith(ARCHIVES) for name in names):
        text += f": it holds archives that are not unpacked ({some(names, 3)})"
        return Finding(ERROR, TOPIC, text, "Unpack all archives of ADNI's images there.")
    if any(name.lower().endswith(".csv") for name in names):
        text += ": it holds study tables (CSV)"
        return Finding(ERROR, TOPIC, text, "Set paths.tables to it and paths.images to the images.")
    text += f": it holds {some(names) or 'nothing'}"
    return Finding(ERROR, TOPIC, text, "Put ADNI's images there, or set paths.images.")


def _search(folder: Path) -> Path | None:
    """The folder that holds subjects' folders, deeper than the conversion searches; None: none."""
    waiting, opened = [(folder, 0)], 0
    while waiting and opened < LOOKED_AT:
        place, level = waiting.pop(0)
        opened += 1
        below = _folders(place)
        if any(PTID.fullmatch(path.name) for path in below):
            return place
        if level < DEEPEST:
            waiting += [(path, level + 1) for path in below]
    return None


def _tables(folder: Path) -> list[Finding]:
    what = "the folder of ADNI's study tables, CSV (docs/adni.md)"
    if fault := _closed("paths.tables", folder, what):
        return [fault]
    if images_in(folder):
        inner = [path for path in _folders(folder) if any(path.glob("*.[cC][sS][vV]"))]
        text = f"paths.tables: {folder} also holds subjects' folders of images, thousands of files"
        remedy = f"Set paths.tables to {inner[0]}" if inner else "Give the tables their own folder."
        return [Finding(ERROR, TOPIC, text, remedy)]
    return [Finding(OK, TOPIC, f"paths.tables: {folder}")]


def images_in(folder: Path) -> bool:
    """Whether a folder of tables holds subjects' folders, and so takes long to search."""
    return bool(find_folders(folder).subjects)


def _bids(key: str, folder: Path) -> list[Finding]:
    what = "the folder in which the folders sub-* lie (docs/cohorts.md)"
    if fault := _closed(key, folder, what):
        return [fault]
    subjects = _subjects(folder)
    if subjects:
        return [Finding(OK, TOPIC, f"{key}: {len(subjects):,} folders sub-* in {folder}")]
    text = f"{key}: no folder sub-* in {folder}"
    inside = next((p for p in (folder, *folder.parents) if p.name.startswith("sub-")), None)
    if inside is not None:
        text += f": it is inside that of subject {inside.name}"
        return [Finding(ERROR, TOPIC, text, f"Set {key} to {inside.parent}")]
    near = [folder.parent, *_folders(folder)]
    near += [path for place in _folders(folder) for path in _folders(place)]
    for path in near:
        if _subjects(path):
            text += f": they lie in {path}"
            return [Finding(ERROR, TOPIC, text, f"Set {key} to {path}")]
    return [Finding(ERROR, TOPIC, text, f"Set {key} to {what}.")]


def _subjects(folder: Path) -> list[Path]:
    return [path for path in _folders(folder) if path.name.startswith("sub-")]


def _folders(folder: Path) -> list[Path]:
    """Folders directly in ``folder``, sorted; none if it cannot be opened."""
    if not os.access(folder, os.R_OK | os.X_OK):
        return []
    with os.scandir(folder) as entries:
        return sorted(Path(entry.path) for entry in entries if entry.is_dir())


def _closed(key: str, folder: Path, what: str) -> Finding | None:
    """The error of a folder that is absent, is a file or cannot be opened; None: it has none."""
    if not folder.exists():
        above = existing(folder)
        names = [path.name for path in _folders(above) if not path.name.startswith(".")]
        there = some(names) or "no folder"
        text = f"{key}: {folder} does not exist; {above} does, and holds {there}"
        return Finding(ERROR, TOPIC, text, f"Set {key} to {what}.")
    if not folder.is_dir():
        return Finding(ERROR, TOPIC, f"{key}: {folder} is a file", f"Set {key} to {what}.")
    if not os.access(folder, os.R_OK | os.X_OK):
        return Finding(ERROR, TOPIC, f"{key}: {folder} is not readable", "Ask for read permission.")
    return None


def existing(path: Path) -> Path:
    """The path itself, or the nearest folder above it that exists."""
    return next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())


def check_written(facts: Facts) -> list[Finding]:
    """Check the folders that are written to, and hard links within the results."""
    found = []
    for name in ("results", "resources"):
        place = existing(facts.path(name))
        if not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
            text = f"paths.{name}: {place} cannot be written to"
            remedy = f"Set paths.{name} to a folder that you may write to."
            found.append(Finding(ERROR, TOPIC, text, remedy))
        else:
            found.append(Finding(OK, TOPIC, f"paths.{name}: {facts.path(name)} can be written to"))
            if name == "results":
                found.append(_links(facts, place))
    return [*found, *_scratch(facts)]


def _links(facts: Facts, place: Path) -> Finding:
    """Check that hard links work: they merge the BIDS parts, within one file system alone."""
    parts = [facts.results / name for name in ("", "bids_parts", "bids", "cohort")]
    devices = {path.stat().st_dev for path in parts if path.exists()}
    if len(devices) > 1:
        text = f"{some(parts[1:])} are not on one file system: converted images are stored twice"
        return Finding(WARNING, TOPIC, text, "Keep the results in one folder, without symlinks.")
    with tempfile.TemporaryDirectory(prefix=".check-", dir=place) as folder:
        file = Path(folder) / "file"
        file.touch()
        try:
            os.link(file, Path(folder) / "link")
        except OSError as error:
            text = f"{place} has no hard links ({error.strerror}): images are stored twice"
            return Finding(WARNING, TOPIC, text, "Set paths.results to another file system.")
    return Finding(OK, TOPIC, "hard links within the results work")


def _scratch(facts: Facts) -> list[Finding]:
    scratch = facts.config["paths"]["scratch"]
    if scratch is None:
        return []
    place = Path(os.path.expandvars(scratch))
    if facts.slurm:
        text = f"paths.scratch: {scratch} is on the compute nodes and cannot be checked from here"
        return [Finding(OK, TOPIC, text)]
    if place.is_dir() and os.access(place, os.W_OK | os.X_OK):
        return [Finding(OK, TOPIC, f"paths.scratch: {place} can be written to")]
    text = f"paths.scratch: {place} is not a folder that can be written to"
    return [Finding(ERROR, TOPIC, text, "Set paths.scratch to such a folder, or to null.")]
