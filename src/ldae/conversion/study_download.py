"""Download of a study that Clinica converts: what is there, and links to it in Clinica's layout.

Clinica's converters take every file and folder of a download for one of theirs and stop at others,
so each is given a folder of links: T1-weighted images at the places where it looks for them, and
tables under the names that it knows.
"""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from ldae.conversion.studies import Study, Table
from ldae.errors import UserError, require


@dataclass(frozen=True)
class Head:
    """One image of a download: a NIfTI file, a DICOM series or a member of an archive.

    Attributes:
        subject: As the study names it; empty where only an archive that cannot be opened would
            tell.
        place: Path in the folder of links (a series: its folder; a member: its path in the archive
            is added).
        archive: Place of the archive that holds it; None: it lies in none.
    """

    subject: str
    place: str
    archive: str | None = None

    @property
    def member(self) -> str | None:
        """Name in its archive, or None."""
        return None if self.archive is None else self.place[len(self.archive) + 1 :]


@dataclass
class LinkedDownload:
    """Links to a download in Clinica's layout, which repairs change before Clinica runs.

    Attributes:
        images: Folder of links to images.
        tables: Folder for the tables; the same if Clinica looks for them beside images.
        found: The tables, by the name under which Clinica looks for each. They are not linked yet:
            see :mod:`ldae.conversion.study_repairs`.
        origins: Place of a link, or of the folder that holds it -> path in the download.
        notes: Sentences with counts on what was changed; none names a person.
        reasons: Place of an image or an archive that is left out -> why.
    """

    images: Path
    tables: Path
    found: dict[str, Path]
    origins: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)

    def leave_out(self, paths: Iterable[Path], reason: str) -> None:
        """Remove links to images; the place of each (a series: its folder) gets the reason."""
        for path in [*paths]:
            path.unlink()
            place = path.relative_to(self.images)
            if path.suffix != ".json":
                series = path.suffix.lower() == ".dcm"
                self.reasons[str(place.parent if series else place)] = reason

    def reason_of(self, head: Head) -> str | None:
        """Why an image, or the archive that holds it, is left out; None: it is not."""
        return self.reasons.get(head.place) or self.reasons.get(head.archive)

    def original_path(self, head: Head) -> str:
        """Path of an image in the download: of its file, its series' folder, or in its archive."""
        if head.archive is not None:
            return f"{self.origins[head.archive]}/{head.member}"
        return self.origins[head.place]


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


def heads(study: Study, images: str | Path) -> list[Head]:
    """Images of a download, sorted by place; see :func:`read_heads`.

    Raises:
        UserError: an archive cannot be read.
    """
    found, unreadable = read_heads(study, images)
    require(not unreadable, next(iter(unreadable.values()), ""))
    return found


def read_heads(study: Study, images: str | Path) -> tuple[list[Head], dict[Head, str]]:
    """List the images of a download; archives are opened for the names of their members.

    Returns:
        The images, sorted by place; and the archives that cannot be opened, each as one image with
        why: nobody knows what is inside.
    """
    pattern = re.compile(rf"(?:^|.*/){study.image}", re.IGNORECASE)
    found: dict[str, Head] = {}
    unreadable = {}
    for place, path in image_links(study, images).items():
        subject = pattern.fullmatch(path.relative_to(images).as_posix())["subject"]
        if study.member:
            try:
                members = archive_members(study, path)
            except UserError as error:
                unreadable[Head(subject, place)] = str(error)
                continue
            for name, match in members:
                who = match.groupdict().get("subject", subject)
                found[f"{place}/{name}"] = Head(who, f"{place}/{name}", place)
        elif place.lower().endswith((".dcm", ".img", ".hdr")):
            folder = str(Path(place).parent)
            found[folder] = Head(subject, folder)
        elif not place.endswith(".json"):
            found[place] = Head(subject, place)
    series = re.compile(study.series or "")
    return [head for place, head in sorted(found.items()) if series.search(place)], unreadable


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
) -> LinkedDownload:
    """Link the download's images into ``folder/images``; make ``folder/tables`` for its tables.

    Raises:
        UserError: the download has faults; the message lists them.
    """
    faults = [f"{text}. {remedy}" for text, remedy in faults_of(study, images, tables, section)]
    require(not faults, "\n  ".join([f"The download of {study.title} has faults:", *faults]))
    origins = {}
    for place, path in image_links(study, images).items():
        link = folder / "images" / place
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path.resolve())
        original = path.relative_to(images)
        origins[place] = original.as_posix()
        origins[Path(place).parent.as_posix()] = original.parent.as_posix()  # of a series
    beside = folder / ("images" if study.tables_with_images else "tables")
    beside.mkdir(exist_ok=True)
    return LinkedDownload(folder / "images", beside, find_tables(study, tables)[0], origins)


def _files(folder: Path) -> Iterator[tuple[Path, str]]:
    """All files below a folder, each with its path from there; hidden ones are left out."""
    for place, folders, files in os.walk(folder, followlinks=True):
        folders.sort()
        for name in sorted(files):
            if not name.startswith("."):
                path = Path(place, name)
                yield path, path.relative_to(folder).as_posix()
