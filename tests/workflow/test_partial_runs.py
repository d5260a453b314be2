"""Partial runs: Snakemake's plan after each change equals that of tests/data/partial_runs.yaml.

The plans are of a hollow project: the real rules and their metadata, outputs without content.
"""

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from helpers.plans import GROUPS, PLANS, rules
from helpers.project import Project, copy_project
from ldae.files import digest
from ldae.orchestration.rerun import reset_scans

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

STAGES = ("autoencoder", "ldm", "ldae", "dae", "supervised")
Jobs = dict[str, int]

ENCODER = {
    "kind": "torchscript",
    "path": "LICENSE",  # a file that is there; nothing reads it
    "grid": {"shape": [8, 8, 8], "spacing": None},
    "normalise": "none",
}
# Replaces every script: makes the outputs, with content only where rules read it.
HOLLOW = """
import json
from pathlib import Path

for path in map(Path, snakemake.output):
    if path.name in ("images", "tables", "bids", "scans"):
        path.mkdir(parents=True, exist_ok=True)
    elif path.name == "download.json":
        path.write_text(json.dumps(snakemake.params.sources))
    elif "manifests" in path.parts:
        scan = f"sub-A_ses-M00{snakemake.wildcards.shard}"
        path.write_text(f"scan_id\\tstatus\\treason\\n{scan}\\tok\\tn/a\\n")
    elif path.parent.name == "shards" and path.suffix == ".tsv":
        number = path.stem.removeprefix("shard-")
        path.write_text(f"scan_id\\nsub-A_ses-M00{number}\\nsub-B_ses-M00{number}\\n")
    elif path.parent.name == "training" and path.suffix == ".json":
        path.write_text(json.dumps(snakemake.params.record))
    elif path.name == "model.json":
        record = json.loads(Path(snakemake.input.settings).read_text())
        path.write_text(json.dumps({"told": record}))
    else:
        path.write_text(snakemake.rule)
"""


@pytest.fixture(scope="module")
def hollow(tmp_path_factory) -> Project:
    """A project in which everything has run, by scripts that compute nothing."""
    project = copy_project(tmp_path_factory.mktemp("hollow") / "project")
    for script in (project.path / "workflow/scripts").glob("[!_]*.py"):
        script.write_text(HOLLOW)
    project.snakemake("--quiet", "all")
    return project


def plan(*arguments: str, **changes) -> Callable[[Project], Jobs]:
    """Plan with these changes of the configuration."""

    def planned(project: Project) -> Jobs:
        name = f"changed-{digest([arguments, changes])}.yaml"  # plans are made in parallel
        return project.jobs(*arguments, config=project.overlay(name, changes))

    return planned


# Situations that change no file: their plans are made in parallel.
SITUATIONS = {
    "nothing": plan(),
    "one stage, forced": plan("--forcerun", "ldm", "--until", "ldm"),
    "from a stage on, forced": plan("--forcerun", "ldm"),
    "all from stage 1 on, forced": plan("--forcerun", "autoencoder"),
    "one file, forced": plan("-f", "results/models/autoencoder/model.json"),
    "a new results folder, until a stage": plan("ldm", paths={"results": "fresh"}),
    "new subjects or visits in the download": plan(synthetic={"subjects": 13}),
    "new subjects, and all models from stage 1 on": plan(
        "--forcerun", "autoencoder", synthetic={"subjects": 13}
    ),
    "new subjects, and a model by its file": plan(
        "--forcerun", "results/models/autoencoder/model.json", synthetic={"subjects": 13}
    ),
    "scans or subjects excluded (config/exclude.tsv)": plan(
        cohort={"exclude": "config/exclude.tsv"}
    ),
    **{f"{stage}.learning_rate": plan(**{stage: {"learning_rate": 0.1}}) for stage in STAGES},
    "evaluation.ddim_steps": plan(evaluation={"ddim_steps": [4, 8]}),
    "a target of your own (evaluation.targets)": plan(
        evaluation={"targets": {"mmse": {"kind": "continuous"}}}
    ),
    "evaluation.targets.diagnosis.label": plan(
        evaluation={"targets": {"diagnosis": {"label": "AD or not"}}}
    ),
    "evaluation.interpolation.correction": plan(
        evaluation={"interpolation": {"correction": {"strength": 0}}}
    ),
    "figures.dpi": plan(figures={"dpi": 100}),
    "volumes.spacing, and other settings that change every scan": plan(volumes={"spacing": 6.0}),
    "cohort.splits.seed, fractions": plan(cohort={"splits": {"seed": 7}}),
    "preprocess.shards (2 to 3)": plan(preprocess={"shards": 3}),
    "device": plan(device="cuda"),
    "an encoder more (evaluation.external_encoders)": plan(
        evaluation={"external_encoders": {"theirs": ENCODER}}
    ),
    "training.tracker": plan(training={"tracker": "mlflow"}),
    "threads, and any stage's precision, processes, workers": plan(
        threads=2, **{stage: {"precision": "bf16", "workers": 1} for stage in STAGES}
    ),
}


@pytest.fixture(scope="module")
def plans(hollow) -> dict[str, Jobs]:
    """Plan of each situation; ``all`` is the plan of everything."""
    asked = SITUATIONS | {"all": plan("--forceall")}
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(asked, pool.map(lambda made: made(hollow), asked.values()), strict=True))


# --- changes of files, undone afterwards ----------------------------------------------------------


def reset(*scans: str) -> Callable[[Project], Jobs]:
    def planned(project: Project) -> Jobs:
        preproc, kept = project.path / "results/preproc", project.path / "kept"
        shutil.copytree(preproc, kept)
        for scan in scans:
            reset_scans(project.path / "results", [scan])
        jobs = project.jobs()
        shutil.rmtree(preproc)
        kept.rename(preproc)
        return jobs

    return planned


def one_scan_reset_in_two_runs(project: Project) -> Jobs:
    reset_scans(project.path / "results", ["sub-A_ses-M000"])
    project.snakemake("preprocess", "--quiet", "all")
    return project.jobs()


def a_corrected_study_table(project: Project) -> Jobs:
    stamp = project.path / "raw/demo/tables/.snakemake_timestamp"
    before = stamp.stat()
    os.utime(stamp)
    jobs = project.jobs()
    os.utime(stamp, ns=(before.st_atime_ns, before.st_mtime_ns))
    return jobs


def edited(module: str, function: str, edit="@staticmethod") -> Callable[[Project], Jobs]:
    def planned(project: Project) -> Jobs:
        path = project.path / "src/ldae" / module
        text = path.read_text()
        assert f"\ndef {function}(" in text
        path.write_text(text.replace(f"\ndef {function}(", f"\n{edit}\ndef {function}("))
        jobs = project.jobs()
        path.write_text(text)
        return jobs

    return planned


def touched_files(project: Project) -> Jobs:
    for folder in ("src", "workflow", "config"):
        for path in (project.path / folder).rglob("*.*"):
            os.utime(path)
    for name in ("cohort/scans.tsv", "cache/volumes/store.json", "models/autoencoder/model.json"):
        os.utime(project.path / "results" / name)
    return project.jobs()


def moved_results(project: Project) -> Jobs:
    results, moved = project.path / "results", project.path / "moved"
    results.rename(moved)
    jobs = plan(paths={"results": "moved"})(project)
    moved.rename(results)
    return jobs


def moved_project(project: Project) -> Jobs:
    moved = project.path.with_name("moved")
    project.path.rename(moved)
    jobs = Project(moved).jobs()
    moved.rename(project.path)
    return jobs


def fresh_clone(project: Project) -> Jobs:
    clone = copy_project(project.path.with_name("clone"))
    for name in ("results", "resources", "raw"):
        shutil.copytree(project.path / name, clone.path / name, dirs_exist_ok=True)
    return clone.jobs()


def deleted_cache(project: Project) -> Jobs:
    cache, kept = project.path / "results/cache", project.path / "kept"
    cache.rename(kept)
    jobs = project.jobs()
    kept.rename(cache)
    return jobs


def deleted_training_records(**changes) -> Callable[[Project], Jobs]:
    """Training records are deleted, with or without a change of the configuration."""

    def planned(project: Project) -> Jobs:
        records, kept = project.path / "results/models/training", project.path / "kept"
        records.rename(kept)
        jobs = plan(**changes)(project)
        shutil.rmtree(records, ignore_errors=True)
        kept.rename(records)
        return jobs

    return planned


CHANGES = {
    "one scan again": reset("sub-A_ses-M000"),
    "two scans again, of one shard, then of two": reset(
        "sub-A_ses-M000", "sub-B_ses-M000", "sub-B_ses-M001"
    ),
    "results/models/training deleted": deleted_training_records(),
    "results/models/training deleted, and scans excluded": deleted_training_records(
        cohort={"exclude": "config/exclude.tsv"}
    ),
    "a corrected study table": a_corrected_study_table,
    "a function of the evaluation edited (evaluate_target)": edited(
        "evaluation/probes/evaluate.py", "evaluate_target"
    ),
    "a function of the preprocessing edited (run_registration)": edited(
        "preprocess/registration.py", "run_registration"
    ),
    "a comment or docstring edited, a function moved": edited(
        "preprocess/registration.py", "run_registration", edit="# edited"
    ),
    "the results folder moved, paths.results changed": moved_results,
    "the project's folder moved": moved_project,
    "a fresh clone, results/, resources/ copied into it with their times": fresh_clone,
    "results/cache deleted": deleted_cache,
    # These leave newer times behind, which only the metadata explains.
    "files touched": touched_files,
    "one scan again, in two runs": one_scan_reset_in_two_runs,
}


def assert_plan(jobs: Jobs, situation: str, full: Jobs) -> None:
    """The plan has the rules of the situation, with their numbers of jobs."""
    expected = rules(PLANS[situation]["runs"])
    # A rule makes the hollow download; a real one is changed by the user.
    jobs = {rule: number for rule, number in jobs.items() if rule != "synthetic"}
    assert set(jobs) == set(expected)
    assert jobs == {rule: full[rule] if n is None else n for rule, n in expected.items()}


def test_every_situation_has_a_plan():
    assert set(PLANS) == set(SITUATIONS) | set(CHANGES)


@pytest.mark.parametrize("situation", SITUATIONS)
def test_plan_after_a_change_of_the_configuration(plans, situation):
    assert_plan(plans[situation], situation, plans["all"])


@pytest.mark.parametrize("situation", CHANGES)
def test_plan_after_a_change_of_files(hollow, plans, situation):
    assert_plan(CHANGES[situation](hollow), situation, plans["all"])
    assert hollow.jobs() == {}


def test_lost_training_record_of_other_settings_is_refused(hollow):
    records, kept = hollow.path / "results/models/training", hollow.path / "kept"
    config = hollow.overlay("other.yaml", {"dae": {"learning_rate": 0.1}})
    records.rename(kept)
    refused = hollow.snakemake("-n", config=config, check=False)
    shutil.rmtree(records, ignore_errors=True)
    kept.rename(records)
    assert refused.returncode
    assert "other settings or source than those of now: settings.learning_rate." in refused.stdout


def test_published_models_depend_on_volume_settings_not_on_scans(hollow):
    """The three models are converted by one rule, which new subjects do not run."""
    files = {part: f"{part}.pth" for part in ("autoencoder", "encoder", "decoder")}
    for name in files.values():
        (hollow.path / name).touch()
    shape = [32, 32, 32]  # their networks halve five times
    given = {"published": files, "paths": {"results": "given"}, "volumes": {"shape": shape}}
    model = "given/models/ldae/model.json"
    hollow.snakemake(model, "--quiet", "all", config=hollow.overlay("given.yaml", given))
    jobs = {
        name: hollow.jobs(model, *arguments, config=hollow.overlay("given2.yaml", given | changes))
        for name, arguments, changes in (
            ("nothing", (), {}),
            ("subjects", (), {"synthetic": {"subjects": 13}}),
            ("forced", ("--forcerun", "published"), {"synthetic": {"subjects": 13}}),
            ("form", (), {"volumes": {"shape": shape, "spacing": 6.0}}),
        )
    }
    assert jobs["nothing"] == {}
    assert "volumes" in jobs["subjects"] and "published" not in jobs["subjects"]
    assert {"volumes", "published"} <= set(jobs["forced"])
    assert {"volumes", "training_settings", "published"} <= set(jobs["form"])


def test_code_shards_depend_on_what_inverts_and_on_no_other_key(hollow):
    """A run by shards, which the small configuration leaves out."""
    shards = {"evaluation": {"code_shards": 1}}
    cards = "results/cache/codes/shards/shard-0.json"
    hollow.snakemake(cards, "--quiet", "all", config=hollow.overlay("shards.yaml", shards))

    def jobs(**changes):
        evaluation = shards["evaluation"] | changes
        return hollow.jobs(cards, config=hollow.overlay("shards2.yaml", {"evaluation": evaluation}))

    assert jobs() == {}
    assert jobs(targets={"diagnosis": {"label": "AD or not", "probes": ["regularised"]}}) == {}
    assert jobs(interpolation={"correction": {"strength": 0, "own_line": 0.5}}) == {}
    assert jobs(interpolation={"ddim_steps": 2}) == {"code_shard": 1}
    assert jobs(targets={"diagnosis": {"classes": ["CN", "MCI"]}}) == {"code_shard": 1}


def test_missing_volume_store_plans_no_training(hollow):
    """Snakemake deletes outputs first, so a failed job leaves no store."""
    store = hollow.path / "results/cache/volumes/store.json"
    kept = store.read_bytes()
    store.unlink()
    jobs = hollow.jobs("--forcerun", "tissue_volumes")
    store.write_bytes(kept)
    assert "volumes" in jobs and not set(jobs) & set(GROUPS["trainings"])
