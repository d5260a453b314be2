"""Download of a study that Clinica converts: what is there, and links to it in Clinica's layout.

Clinica's converters take every file and folder of a download for one of theirs and stop at others,
so each is given a folder of links: T1-weighted images at the places where it looks for them, and
tables under the names that it knows.
"""

import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from ldae.conversion.studies import Study, Table
from ldae.errors import UserError, require


@dataclass(frozen=True)
class Head:
    """One image of a download: a NIfTI file, a DICOM series or a member of an archive.

    Attributes:
        subject: As the study names it.
        place: Path in the folder of links (a series: its folder; a member: its path in the archive
            is added).
    """

    subject: str
    place: str


def image_links(study: Study, images: str | Path) -> dict[str, Path]:
    """Files of images: path in the folder of links -> the file, sorted by path.

    Of two files for one place the first by path is taken.
    """
    pattern = re.compile(rf"(?:^|.*/){study.image}", re.IGNORECASE)
    links: dict[str, Path] = {}
    for path, relative in _files(Path(images)):
        if match := pattern.fullmatch(relative):
            links.setdefault(match.expand(study.place), path)
    return dict(sorted(links.items()))


def heads(study: Study, images: str | Path, without: Collection[str] = ()) -> list[Head]:
    """Images of a download, sorted by place; archives are opened for the names of their members.

    Those whose place is in ``without`` are not opened, and have no images.

    Raises:
        UserError: an archive cannot be read.
    """
    found = {}
    for place, subject, path in image_files(study, images):
        if study.member and place not in without:
            for name, match in archive_members(study, path):
                found[f"{place}/{name}"] = match.groupdict().get("subject", subject)
        elif place.lower().endswith((".dcm", ".img", ".hdr")):
            found[str(Path(place).parent)] = subject
        elif not (study.member or place.endswith(".json")):
            found[place] = subject
    series = re.compile(study.series or "")
    return [Head(who, place) for place, who in sorted(found.items()) if series.search(place)]


def image_files(study: Study, images: str | Path) -> list[tuple[str, str, Path]]:
    """Files of images, or archives of them: place, subject (empty: in the archive), file."""
    pattern = re.compile(rf"(?:^|.*/){study.image}", re.IGNORECASE)
    return [
        (place, pattern.fullmatch(path.relative_to(images).as_posix())["subject"], path)
        for place, path in image_links(study, images).items()
    ]


def unreadable_archives(study: Study, images: str | Path) -> list[tuple[Head, str]]:
    """Archives of images that cannot be opened, each with why: nobody knows what is inside."""
    found = []
    for place, subject, path in image_files(study, images) if study.member else []:
        try:
            archive_members(study, path)
        except UserError as error:
            found.append((Head(subject, place), str(error)))
    return found


def archive_members(study: Study, archive: Path) -> list[tuple[str, re.Match]]:
    """Names of an archive's images with the match of ``study.member``, sorted.

    Raises:
        UserError: the archive cannot be read.
    """
    pattern = re.compile(rf"(?:^|.*/){study.member}")
    try:
        with ZipFile(archive) as opened:
            names = opened.namelist()
    except (BadZipFile, OSError) as error:
        raise UserError(
            f"The archive {archive} cannot be read ({error}). Download it again."
        ) from None
    matches = [(name, pattern.fullmatch(name)) for name in sorted(names)]
    return [(name, match) for name, match in matches if match]


def find_tables(study: Study, tables: str | Path) -> tuple[dict[str, Path], list[tuple[str, str]]]:
    """Tables of a download.

    Returns:
        Name for Clinica -> the file; and faults (a table that is missing or there twice), each with
        its remedy.
    """
    files = [path for path, _ in _files(Path(tables))]
    found, faults = {}, []
    for table in study.tables:
        mine = [path for path in files if _is(table, path.name)]
        if len(mine) == 1:
            found[table.name or mine[0].name] = mine[0]
        elif mine:
            names = ", ".join(str(path.relative_to(tables)) for path in mine[:4])
            text = f"{names} in {tables}: of a table of {study.title} one is needed"
            faults.append((text, "Leave the newest one, or the one meant, there."))
        else:
            text = f"{study.title} needs a table {_shown(table)}; there is none in {tables}"
            faults.append((text, f"Get it: {table.source}."))
    return found, faults


def _is(table: Table, name: str) -> bool:
    # Spreadsheet programs leave ~$name beside an open file, macOS ._name in archives.
    return not name.startswith(("~", ".")) and bool(
        re.fullmatch(table.pattern, name, re.IGNORECASE)
    )


def _shown(table: Table) -> str:
    """A table's file name for people: ``aibl_cdr_*.csv``."""
    return table.pattern.replace(r"\.", ".").replace(".*", "*").replace("**", "*")


def faults_of(
    study: Study, images: str | Path, tables: str | Path, section: str
) -> list[tuple[str, str]]:
    """Faults of a download that Clinica would stop at, each with its remedy.

    Args:
        study: The study.
        images: Folder of its images.
        tables: Folder of its tables; may be the same.
        section: Section of the configuration that messages name.
    """
    get = f"Download {study.download}."
    absent = [
        (f"{section}.{key}: the folder {folder} does not exist", get)
        for key, folder in (("images", images), ("tables", tables))
        if not Path(folder).is_dir()
    ]
    if absent:
        return absent
    found = []
    if not image_links(study, images):
        there = ", ".join(sorted(entry.name for entry in os.scandir(images))[:5]) or "nothing"
        text = f"{section}.images: {images} has no image of {study.title}; found: {there}"
        found.append((text, get))
    faults = find_tables(study, tables)[1]
    return found + [(f"{section}.tables: {text}", remedy) for text, remedy in faults]


def link_download(
    study: Study, images: str | Path, tables: str | Path, folder: Path, section: str
) -> tuple[Path, Path, dict[str, Path]]:
    """Link the download's images into ``folder/images``; make ``folder/tables`` for its tables.

    Returns:
        Both folders (they are one if Clinica looks for tables beside images), and the tables found,
        by the name under which Clinica looks for each. They are not linked yet: see
        :mod:`ldae.conversion.study_repairs`.

    Raises:
        UserError: the download has faults; the message lists them.
    """
    faults = [f"{text}. {remedy}" for text, remedy in faults_of(study, images, tables, section)]
    require(not faults, "\n  ".join([f"The download of {study.title} has faults:", *faults]))
    for place, path in image_links(study, images).items():
        link = folder / "images" / place
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path.resolve())
    beside = folder / ("images" if study.tables_with_images else "tables")
    beside.mkdir(exist_ok=True)
    return folder / "images", beside, find_tables(study, tables)[0]


def _files(folder: Path) -> Iterator[tuple[Path, str]]:
    """All files below a folder, each with its path from there; hidden ones are left out."""
    for place, folders, files in os.walk(folder, followlinks=True):
        folders.sort()
        for name in sorted(files):
            if not name.startswith("."):
                path = Path(place, name)
                yield path, path.relative_to(folder).as_posix()
