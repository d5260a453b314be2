"""Damaged inputs: each gets its sentence, in the ledger or from the module that reads it.

A damaged download is run through the workflow once: the ledger names each fault, and every other
image is used. Faults of single files and tables need no run and take milliseconds each.
"""

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml

from helpers.fault_readers import READERS
from helpers.file_faults import FILE_FAULTS
from helpers.image_faults import FAULTS, Image
from helpers.project import GOLDEN
from ldae.conversion.download import PTID
from ldae.derivatives import shard_of
from ldae.synthetic.download import make_download

BUILT_IN = (1, 2, 3, 6, 8)  # subjects (index modulo 10) that make_download damages
SUBJECTS = 60
MISFILED = "folder of another subject"
FIXED = 3  # inputs beside FAULTS: an image in two subjects (two), and in another's folder
# Of a library: its exceptions, its functions and Python's own words
LIBRARY = re.compile(r"\w+Error\b|Traceback|nibabel|pandas|numpy|ufunc|codec|tokeniz|\bNone\b")


def healthy_images(out: Path) -> pd.DataFrame:
    """The chosen image of every visit of the subjects without built-in damage."""
    truth = pd.read_csv(out / "truth.tsv", sep="\t", dtype={"image_id": str})
    truth = truth[~(truth["subject_index"] % 10).isin(BUILT_IN)]
    rows = []
    for row in truth.itertuples():
        subject = row.participant_id.removeprefix("sub-ADNI").replace("S", "_S_")
        folder = next((out / "images" / subject).glob(f"*/*/I{row.image_id}"))
        nifti = next(folder.glob("*.nii"), None)
        kind = "nifti" if nifti else "3t" if row.field_strength == 3.0 else "dicom"
        kind += " later" if kind == "3t" and row.session_id != "ses-M000" else ""
        rows.append((subject, f"I{row.image_id}", nifti or folder, kind))
    return pd.DataFrame(rows, columns=["subject", "image_id", "path", "kind"])


def damaged_download(out: Path) -> dict[str, Image]:
    """Make a download and damage one image by each fault; returns the image by fault."""
    make_download(out, SUBJECTS, 2, 3.0, seed=5, jobs=2)
    images = healthy_images(out)
    damaged = {}
    order = sorted(
        FAULTS,
        key=lambda name: (not FAULTS[name].all_images, not FAULTS[name].kind.startswith("3t")),
    )
    for name in order:
        fault = FAULTS[name]
        kinds = {"dicom": ("dicom", "3t", "3t later"), "3t": ("3t", "3t later")}
        kinds = kinds.get(fault.kind, (fault.kind,))
        row = images[images["kind"].isin(kinds)].iloc[0]
        chosen = (
            images["subject"] == row.subject if fault.all_images else images["path"] == row.path
        )
        images = images[~chosen]
        damaged[name] = Image(row.subject, row.image_id, row.path, out / "tables")
    one, other = (
        Image(row.subject, row.image_id, row.path, out / "tables")
        for row in images[images["kind"] == "nifti"].head(2).itertuples()
    )
    shutil.copy(one.path, other.path)
    damaged |= {"same image, one subject": one, "same image, other subject": other}
    for name, fault in FAULTS.items():
        fault.damage(damaged[name])
    damaged[MISFILED] = copy_to_another_subject(images[images["kind"] != "nifti"], out)
    return damaged


def copy_to_another_subject(images: pd.DataFrame, out: Path) -> Image:
    """Copy the first image into the folder of another subject of the same batch."""
    first = images.iloc[0]
    others = images.loc[images["subject"] != first["subject"], "subject"]
    same = [name for name in others if shard_of(name, 2) == shard_of(first["subject"], 2)]
    path = first["path"]
    place = out / "images" / same[0] / path.relative_to(out / "images" / first["subject"])
    shutil.copytree(path, place)
    return Image(first["subject"], first["image_id"], path, out / "tables")


@pytest.fixture(scope="module")
def damaged_run(tmp_path_factory):
    """Ledger of a damaged download, the damaged images by fault, and the project."""
    from helpers.project import copy_project

    project = copy_project(tmp_path_factory.mktemp("faults"))
    damaged = damaged_download(project.path / "raw/faults")
    base = yaml.safe_load((project.path / GOLDEN).read_text())
    del base["synthetic"]
    base["paths"] |= {"images": "raw/faults/images", "tables": "raw/faults/tables"}
    base["cohort"] |= {"max_failed_fraction": 0.5, "exclude": None}
    (project.path / GOLDEN).write_text(yaml.safe_dump(base))
    # The bounds are for heads of 2 mm; blurring to 3 mm raises the residual bias.
    settings = {"preprocess": {"qc": {"max_residual_bias": 0.1}}}
    (project.path / "faults.yaml").write_text(yaml.safe_dump(settings))
    project.snakemake("cohort", config="faults.yaml")
    ledger = pd.read_csv(project.path / "results/cohort/ledger.tsv", sep="\t", dtype=str)
    return ledger, damaged, project


@pytest.mark.workflow
@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_ledger_names_fault(damaged_run, name):
    ledger, damaged, _ = damaged_run
    fault, image = FAULTS[name], damaged[name]
    rows = ledger[ledger["image_id"] == image.image_id]
    if name == "no identifier in the name":
        rows = ledger[ledger["path"].str.contains(image.path.name)]
    assert len(rows) == 1, rows
    row = rows.iloc[0]
    if fault.stage is None:
        assert row["status"] == "used", row.to_dict()
    else:
        assert (row["status"], row["stage"]) == ("excluded", fault.stage), row.to_dict()
        assert fault.words.lower() in row["reason"].lower(), row["reason"]


@pytest.mark.workflow
@pytest.mark.slow
def test_ledger_excludes_image_of_two_subjects_for_both(damaged_run):
    ledger, damaged, _ = damaged_run
    pair = [damaged[f"same image, {whose} subject"].image_id for whose in ("one", "other")]
    rows = ledger[ledger["image_id"].isin(pair)]
    assert list(rows["status"]) == ["excluded"] * 2
    assert set(rows["stage"]) == {"duplicate"}


@pytest.mark.workflow
@pytest.mark.slow
def test_ledger_excludes_image_in_folder_of_another_subject(damaged_run):
    ledger, damaged, _ = damaged_run
    image = damaged[MISFILED]
    rows = ledger[ledger["image_id"] == image.image_id].set_index("subject_id")
    own, other = rows.loc[image.subject], rows.drop(image.subject).iloc[0]
    assert len(rows) == 2 and own["status"] == "used"
    assert (other["status"], other["stage"]) == ("excluded", "file")
    assert "another subject" in other["reason"]


@pytest.mark.workflow
@pytest.mark.slow
def test_ledger_uses_all_undamaged_images(damaged_run):
    ledger, damaged, project = damaged_run
    subjects = {damaged[name].subject for name, fault in FAULTS.items() if fault.all_images}
    damaged_images = {image.image_id for image in damaged.values()}
    truth = pd.read_csv(project.path / "raw/faults/truth.tsv", sep="\t", dtype={"image_id": str})
    main = set("I" + truth["image_id"]) - damaged_images
    rest = ledger[ledger["image_id"].isin(main) & ~ledger["subject_id"].isin(subjects)]
    assert len(rest) >= 50
    assert set(rest["status"]) == {"used"}, rest[rest["status"] != "used"].to_dict("records")


@pytest.mark.workflow
@pytest.mark.slow
def test_flow_counts_equal_images_on_disk(damaged_run):
    ledger, _damaged, project = damaged_run
    flow = pd.read_csv(project.path / "results/tables/flow.tsv", sep="\t").set_index("stage")
    folders = (project.path / "raw/faults/images").glob("**/I9*")
    on_disk = {
        (next(part for part in path.parts if PTID.fullmatch(part)), path.name.split(".")[0])
        for path in folders
    }
    assert len(ledger) == len(on_disk) == flow.loc["download", "images"]
    used = (ledger["status"] == "used").sum()
    assert used == flow.loc["used", "images"]


@pytest.mark.workflow
@pytest.mark.slow
def test_flow_counts_missing_scans_of_the_conversion_table(damaged_run):
    _, _, project = damaged_run
    conversion = pd.read_csv(project.path / "results/cohort/conversion.tsv", sep="\t", dtype=str)
    flow = pd.read_csv(project.path / "results/tables/flow.tsv", sep="\t").set_index("stage")
    assert flow.loc["missing", "images"] == (conversion["status"] == "missing").sum()


@pytest.mark.parametrize("name", FILE_FAULTS)
def test_reader_names_fault_in_a_sentence(name, tmp_path):
    fault = FILE_FAULTS[name]
    path = tmp_path / "x.nii.gz"
    fault.make(path)
    sentences = READERS[fault.kind](path)
    assert sentences
    for sentence in sentences:
        assert fault.words in sentence and not LIBRARY.search(sentence), sentence


def test_suite_has_faults_of_every_kind():
    assert len(FAULTS) + FIXED + len(FILE_FAULTS) >= 60
    assert {fault.kind for fault in FILE_FAULTS.values()} == set(READERS)
