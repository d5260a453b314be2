"""Synthetic cohort of preprocessed scans with known truth, as input for cohort.preprocessed_dir.

The folder ``scans`` holds skull-stripped T1w scans in template space, participants.tsv and
sessions.tsv; truth.tsv is beside it.
"""

import logging
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import torch

from ldae.derivatives import BIDS_VERSION
from ldae.errors import require
from ldae.files import atomic_folder, write_json, write_table
from ldae.progress import Progress
from ldae.synthetic.appearance import draw_style, render_scan, vary_style
from ldae.synthetic.brains import (
    Brain,
    apply_atrophy,
    draw_brain,
    draw_pose,
    template_grid,
    visible_volumes,
)
from ldae.synthetic.heads import Atrophy, Head
from ldae.synthetic.population import Person, PersonVisit, draw_population
from ldae.synthetic.subjects import MADE_BY, MARK, standardised_atrophy, subject_generator

KIND = "preprocessed"
WHITE = 200.0  # stored value of white matter


def make_scan(
    person: Person,
    visit: PersonVisit,
    brain: Brain,
    atrophy: Atrophy,
    seed: int,
    spacing: float,
    variation: float = 1.0,
) -> tuple[np.ndarray, np.ndarray, Head]:
    """Scan a person's brain at a visit with an atrophy, the visit's own or a counterfactual one.

    Returns:
        Stored values (X, Y, Z) uint16, brain mask (X, Y, Z) uint8, both on
        :func:`ldae.synthetic.brains.template_grid`; and the head, whose volumes are the truth.
    """
    head = apply_atrophy(brain, atrophy)
    rng = subject_generator(seed, person.index, 4, visit.number)
    style = vary_style(draw_style(seed, *visit.scanner, variation), rng, variation)
    pose = draw_pose(person, visit, seed, variation)
    signal, mask = render_scan(brain, head, pose, style, template_grid(spacing), rng)
    return np.round(signal * WHITE).astype(np.uint16), mask.astype(np.uint8), head


def make_person(
    person: Person, seed: int, spacing: float, template: str, variation: float, out: Path
) -> list[dict]:
    """Write a person's scans below ``out``; returns one row of ``truth.tsv`` for each visit."""
    brain = draw_brain(person, seed, variation)
    affine = template_grid(spacing)[1]
    rows = []
    for visit in person.visits:
        values, mask, head = make_scan(
            person, visit, brain, visit.atrophy, seed, spacing, variation
        )
        folder = out / person.participant_id / visit.session_id / "anat"
        folder.mkdir(parents=True)
        stem = f"{person.participant_id}_{visit.session_id}_space-{template}_desc-brain"
        for array, suffix in ((values, "T1w"), (mask, "mask")):
            nib.save(nib.Nifti1Image(array, affine), folder / f"{stem}_{suffix}.nii.gz")
        to_reference = head.anatomy.base.reference_scale**3
        reached = Atrophy(
            head.volumes["ventricles"] * to_reference,
            head.volumes["hippocampus"] * to_reference,
            visit.atrophy.cortical_mm,
        )
        rows.append(
            {
                "participant_id": person.participant_id,
                "session_id": visit.session_id,
                "age": visit.age,
                "sex": person.sex,
                "diagnosis": visit.diagnosis,
                "atrophy": standardised_atrophy(reached),
                "pathology": visit.pathology,
                **visible_volumes(head, draw_pose(person, visit, seed, variation)),
                "cortical_mm": visit.atrophy.cortical_mm,
                "base": person.base + ("-flipped" if person.flipped else ""),
                "site": person.site,
                "machine": visit.scanner[1],
                "field_strength": draw_style(seed, *visit.scanner).field_strength,
                "seed": seed,
                "subject_index": person.index,
            }
        )
    return rows


def _make_people(
    people: list[Person],
    seed: int,
    spacing: float,
    template: str,
    variation: float,
    out: Path,
    jobs: int,
) -> Iterator[list[dict]]:
    """Rows of :func:`make_person` for every person, in the order in which they are done."""
    rest = (seed, spacing, template, variation, out)
    if jobs == 1:
        yield from (make_person(person, *rest) for person in people)
        return
    # one thread each: the processes fill the cores, and OpenMP's threads do not survive a fork
    with ProcessPoolExecutor(
        jobs, get_context("fork"), initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        runs = [pool.submit(make_person, person, *rest) for person in people]
        for run in as_completed(runs):
            yield run.result()


def _write_tables(people: list[Person], truth: pd.DataFrame, out: Path) -> None:
    """Write what a study would record, and the folder's dataset_description.json."""
    strength = truth.set_index(["participant_id", "session_id"])["field_strength"]
    write_table(
        pd.DataFrame(
            {"participant_id": p.participant_id, "sex": p.sex, "apoe4": p.apoe4} for p in people
        ),
        out / "participants.tsv",
    )
    write_table(
        pd.DataFrame(
            {
                "participant_id": person.participant_id,
                "session_id": visit.session_id,
                "months": visit.months,
                "age": visit.age,
                "diagnosis": visit.diagnosis,
                "mmse": visit.mmse,
                "cdr_global": visit.cdr_global,
                "site": f"site-{person.site:02d}",
                "field_strength": strength[person.participant_id, visit.session_id],
            }
            for person in people
            for visit in person.visits
        ),
        out / "sessions.tsv",
    )
    about = {"Name": "synthetic", "BIDSVersion": BIDS_VERSION, "DatasetType": "derivative"}
    write_json(about | {"GeneratedBy": [{"Name": MADE_BY}]}, out / "dataset_description.json")


def make_preprocessed(
    out: str | Path,
    subjects: int,
    visits: int,
    spacing: float,
    seed: int,
    template: str,
    variation: float = 1.0,
    jobs: int = 1,
) -> Path:
    """Make a synthetic preprocessed cohort; returns ``out``.

    Writes ``out/scans`` (``sub-*/ses-*/anat/*_space-<template>_desc-brain_{T1w,mask}.nii.gz``,
    participants.tsv, sessions.tsv, dataset_description.json), ``out/truth.tsv`` and
    ``out/synthetic.json`` (the arguments). Everything is made in a folder beside ``out`` and
    renamed at the end. An earlier synthetic cohort in ``out`` is replaced. The files depend on all
    arguments but ``jobs``.

    Args:
        visits: Largest number of visits of a subject, 2 to 5.
        spacing: Voxel edge, mm, isotropic.
        template: Name of the template's space in file names.
        variation: Factor of all differences between scans that are not age or disease: shape, size,
            pose, contrast, noise, coil field, brain mask. 1: larger than those that preprocessing
            leaves.
        jobs: Number of parallel processes.

    Raises:
        UserError: a number is out of range, or ``out`` holds something else.
    """
    require(0 <= variation <= 1, f"The variation must be between 0 and 1, not {variation}.")
    require(0.5 <= spacing <= 6, f"The spacing must be between 0.5 and 6 mm, not {spacing}.")
    require(jobs >= 1, f"The number of jobs must be at least 1, not {jobs}.")
    people = draw_population(subjects, visits, seed)
    arguments = {
        "subjects": subjects,
        "visits": visits,
        "spacing": spacing,
        "seed": seed,
        "template": template,
        "variation": variation,
    }
    with atomic_folder(Path(out).absolute(), MARK) as work:
        scans = work / "scans"
        scans.mkdir()
        progress = Progress("synthetic people", len(people), interval=5)
        truth = []
        runs = _make_people(people, seed, spacing, template, variation, scans, jobs)
        for done, rows in enumerate(runs, start=1):
            truth += rows
            progress.step(done)
        truth.sort(key=lambda row: (row["subject_index"], row["session_id"]))
        _write_tables(people, pd.DataFrame(truth), scans)
        write_table(pd.DataFrame(truth), work / "truth.tsv")
        write_json({"made_by": MADE_BY, "kind": KIND, "arguments": arguments}, work / MARK)
    logging.getLogger(__name__).info("%d scans of %d people in %s", len(truth), subjects, out)
    return Path(out)
