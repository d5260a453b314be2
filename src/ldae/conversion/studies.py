"""Studies other than ADNI that Clinica 0.12 converts: their download, their columns, their faults.

One row of :data:`STUDIES` a study: which files of its download hold T1-weighted images, which
tables Clinica demands, and which of the columns it writes are ours. Clinica's faults on a valid
download are mended in :mod:`ldae.conversion.study_repairs`.

Every start of the workflow imports this module: it imports nothing heavy.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

LEFT_OUT = "sourcedata/left_out.tsv"  # table of the data set made: images not converted


@dataclass(frozen=True)
class Table:
    """A table of a study's download.

    Attributes:
        pattern: Regular expression of the whole file name, upper or lower case.
        name: Name under which Clinica looks for it.
        source: Where to get it, for messages.
    """

    pattern: str
    name: str
    source: str


@dataclass(frozen=True)
class Study:
    """A study that Clinica converts.

    Attributes:
        title: Name of the study.
        arguments: Words of ``clinica convert``; ``{images}``, ``{tables}`` and ``{bids}`` are
            replaced.
        download: What to download, for messages.
        image: Regular expression of the end of an image file's path, with a group ``subject``.
        place: Template (:meth:`re.Match.expand`) of the path at which Clinica shall find it.
        tables: Tables that are needed, each once.
        columns: Our name -> column of the BIDS data set, as ``columns`` of the configuration.
        values: Our name -> {value of the study: ours, or None for unknown}.
        member: Images are archives with members of this name (regular expression); None: they
            are not.
        tables_with_images: Clinica looks for the tables in the folder of images.
        parallel: Clinica takes a number of processes.
        series: Regular expression of the places of T1-weighted images, where the download has
            others in the same form; None: all are.
        label: Regular expression of a subject's name and the template of Clinica's BIDS label.
    """

    title: str
    arguments: str
    download: str
    image: str
    place: str
    tables: tuple[Table, ...]
    columns: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Mapping[Any, Any]] = field(default_factory=dict)
    member: str | None = None
    tables_with_images: bool = False
    parallel: bool = False
    series: str | None = None
    label: tuple[str, str] = (r"(.*)", r"\1")

    def label_of(self, subject: str) -> str:
        """BIDS label that Clinica gives a subject, without ``sub-``; empty for an unknown one."""
        pattern, template = self.label if subject else ("", "")
        return re.sub(r"[^A-Za-z0-9]", "", re.fullmatch(pattern, subject).expand(template))


_OASIS = "sites.wustl.edu/oasisbrains"
_LONI = "ida.loni.usc.edu"


def _aibl(kind: str) -> Table:
    source = f"the clinical data of AIBL ({_LONI}, project AIBL, Study Data, a ZIP of all tables)"
    return Table(rf"aibl_{kind}_.*\.csv", f"aibl_{kind}_0.csv", source)


def _oasis3(name: str) -> Table:
    source = f"OASIS-3's data files on NITRC-IR ({_OASIS})"
    return Table(rf".*OASIS3_{name}\.csv", f"OASIS3_{name}.csv", source)


def _habs(kind: str) -> Table:
    source = "HABS's data release (habs.mgh.harvard.edu)"
    return Table(rf"{kind}_HABS_DataRelease.*\.csv", f"{kind}_HABS_DataRelease.csv", source)


def _genfi(kind: str) -> Table:
    source = "GENFI's data freeze (genfi.org)"
    return Table(rf"FINAL.*{kind}.*\.xlsx", "", source)


STUDIES: Mapping[str, Study] = {
    "oasis1": Study(
        title="OASIS-1",
        arguments="oasis-to-bids {images} {tables} {bids}",
        download=(
            f"the discs of OASIS-1 ({_OASIS}), unpacked: folders OAS1_0001_MR1, each with "
            "PROCESSED/MPRAGE/SUBJ_111/*.img and *.hdr; discs may lie side by side"
        ),
        # A second session (MR2) has the visit of the first in Clinica's names.
        image=r"(?P<subject>OAS1_\d{4})_MR1/PROCESSED/MPRAGE/SUBJ_111/([^/]+\.(?:img|hdr))",
        place=r"\g<subject>_MR1/PROCESSED/MPRAGE/SUBJ_111/\2",
        tables=(
            Table(
                r"oasis_cross-sectional.*\.xlsx",
                "oasis_cross-sectional-5708aa0a98d82080.xlsx",
                f"the Excel file of OASIS-1 ({_OASIS})",
            ),
        ),
        # Of participants.tsv: in the sessions' tables any CDR above 0 gives no diagnosis.
        columns={
            "age_baseline": "age_bl",
            "diagnosis": "diagnosis_bl",
            "cdr_global": "cdr",
            "mmse": "MMS",
        },
        label=(r"OAS(1_.*)", r"OASIS\1"),
        parallel=True,
    ),
    "oasis3": Study(
        title="OASIS-3",
        arguments="oasis3-to-bids {images} {tables} {bids}",
        download=(
            f"the MR sessions of OASIS-3 ({_OASIS}, NITRC-IR): folders OAS30001_MR_d0129 with "
            "*_T1w.nii.gz at any depth"
        ),
        image=r"(?P<subject>OAS3\d{4})_MR_d(\d+)/(?:[^/]+/)*([^/]+_T1w)\.(nii\.gz|json)",
        # Clinica fails on a folder with two images.
        place=r"\g<subject>_MR_d\2/\3/\3.\4",
        tables=(_oasis3("demographics"), _oasis3("UDSb4_cdr")),
    ),
    "aibl": Study(
        title="AIBL",
        arguments="aibl-to-bids {images} {tables} {bids}",
        download=(
            f"AIBL's T1-weighted images as DICOM ({_LONI}): folders of numbers, "
            "4/MPRAGE_ADNI_confirmed/2008-05-01_10_00_00.0/I12345/*.dcm"
        ),
        image=(r"(?P<subject>[1-9]\d*)/(MPRAGE[^/]*)/(\d{4}-\d\d-\d\d_[^/]*)/(I\d+)/([^/]+)\.dcm"),
        place=r"\g<subject>/\2/\3/\4/\5.dcm",
        tables=tuple(map(_aibl, ("ptdemog", "apoeres", "neurobat", "cdr", "mmse", "pdxconv")))
        + tuple(map(_aibl, ("mrimeta", "mri3meta"))),
        columns={"mmse": "MMS"},
        label=(r"(.*)", r"AIBL\1"),
        parallel=True,
    ),
    "ixi": Study(
        title="IXI",
        arguments="ixi-to-bids {images} {bids} {tables}",
        download=(
            "the T1 images of IXI (brain-development.org, IXI-T1.tar), unpacked: "
            "IXI002-Guys-0828-T1.nii.gz"
        ),
        image=r"((?P<subject>IXI\d{3})-\w+-\w+-T1\.nii\.gz)",
        place=r"\1",
        tables=(
            Table(r"IXI\.xls", "IXI.xls", "the demographic information (brain-development.org)"),
        ),
        values={"sex": {"male": "M", "female": "F"}},
    ),
    "habs": Study(
        title="HABS",
        arguments="habs-to-bids {images} {bids}",
        download=(
            "the archives of HABS's data release (habs.mgh.harvard.edu), not unpacked: "
            "*HABS_DataRelease*.zip with P_XXXXXX_2010-01-31_HAB_1.0_ADNI_1X-MPRAGE.nii.gz"
        ),
        # The subject is in the names of the members.
        image=r"(?P<subject>)([^/]*HABS_DataRelease[^/]*\.zip)",
        place=r"\2",
        member=(
            r"(?P<subject>P_\w{6})_[\d-]+_(?P<session>HAB_\d\.\d{1,2})_ADNI_[12]X-MPRAGE"
            r"[^/]*\.nii\.gz"
        ),
        tables=(_habs("Demographics"), _habs("ClinicalMeasures")),
        values={
            "diagnosis": {"Dementia": "AD", "NC": "CN", "HC": "CN"},
            "sex": {"Male": "M", "Female": "F"},
        },
        label=(r"P_(.*)", r"HABS\1"),
        tables_with_images=True,
    ),
    "nifd": Study(
        title="NIFD",
        arguments="nifd-to-bids {images} {tables} {bids}",
        download=(
            f"NIFD's images as DICOM ({_LONI}, project NIFD): "
            "1_S_0001/t1_mprage/2010-01-31_10_00_00.0/I123456/NIFD_*_I123456.dcm"
        ),
        image=(
            r"(?P<subject>\d_S_\d{4})/([^/]+)/([^/]+)/((?:[SI]\d+/)?)"
            r"(NIFD[^/]*_I\d+\.(?:dcm|nii))"
        ),
        place=r"\g<subject>/\2/\3/\4\5",
        tables=(
            Table(r".*\.csv", "collection.csv", f"the collection's list of images ({_LONI}, CSV)"),
            Table(r".*\.xlsx", "nifd.xlsx", f"the clinical data of NIFD ({_LONI}, Study Data)"),
        ),
        values={
            "diagnosis": {
                "CON": "CN",
                "BV": None,
                "L_SD": None,
                "PATIENT (OTHER)": None,
                "PNFA": None,
                "SV": None,
            },
        },
        series=r"(?i)mprage|mt1|gradwarp|n3m",
        label=(r"(.*)", r"NIFD\1"),
        tables_with_images=True,
    ),
    "genfi": Study(
        title="GENFI",
        arguments="genfi-to-bids {images} {bids} -cdd {tables}",
        download=(
            "GENFI's images as DICOM (genfi.org): folders C9ORF001-11 (subject and visit) with "
            "3-T1_mprage/<folder>/*.dcm (number and name of the series)"
        ),
        image=r"(?P<subject>\w+)-(\d+)/(\d+-[^/]+)/([^/]+)/([^/]+\.dcm)",
        place=r"\g<subject>-\2/\3/\4/\5",
        tables=tuple(
            map(_genfi, ("IMAGING", "DEMOGRAPHICS", "CLINICAL", "BIOSAMPLES", "NEUROPSYCH"))
        ),
        series=r"(?i)t1(?!_1\.25mm_iso)",
        columns={"age": "age_at_visit"},
    ),
    "ukb": Study(
        title="UK Biobank",
        arguments="ukb-to-bids {images} {tables} {bids}",
        download=(
            "field 20252 of UK Biobank (T1 structural images, NIfTI), not unpacked: "
            "1000001_20252_2_0.zip"
        ),
        image=r"(?P<subject>\d+)_20252_([23])_(\d+)\.zip",
        place=r"\g<subject>_20252_\2_\3.zip",
        member=r"T1/T1\.nii\.gz",
        label=(r"(.*)", r"UKB\1"),
        tables=(
            Table(
                r".*\.csv",
                "ukb.csv",
                "a CSV with eid and the fields 31-0.0, 34-0.0, 21022-0.0, 21003-2.0, 21003-3.0",
            ),
        ),
    ),
}


def study_columns(dataset: Mapping[str, Any]) -> dict[str, Any]:
    """Columns and values of a study's data set: the study's, and those of the configuration."""
    study = STUDIES[dataset["study"]]
    return {
        "columns": {**study.columns, **dataset.get("columns", {})},
        "values": {**study.values, **dataset.get("values", {})},
    }
