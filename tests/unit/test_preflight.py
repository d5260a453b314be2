"""Preflight checks of `snakemake check`, without Snakemake: each fault has its remedy."""

import copy
import json
import shutil
import sys
from collections import namedtuple
from pathlib import Path

import pytest
import yaml

from helpers.downloads import PEOPLE, edit, make_downloads, put
from ldae.conversion.study_tables import find_files
from ldae.files import read_table, write_json
from ldae.preflight import paths, plan, resources, scans, slurm, space
from ldae.preflight.cost import estimate
from ldae.preflight.environment import check_environment
from ldae.preflight.expected_scans import expected_scans
from ldae.preflight.parameters import TABLE, count_parameters, key_of, parameters
from ldae.preflight.paths import check_tables
from ldae.preflight.plan import Plan
from ldae.preflight.report import ERROR, OK, WARNING, Finding, text, write
from ldae.preflight.run_facts import Facts
from ldae.preflight.scans import Counts
from ldae.resources.table import load_resources, needed
from ldae.synthetic.download import plan_images
from ldae.training.trackers.choice import PACKAGES

ROOT = Path(__file__).parents[2]
PAPER = yaml.safe_load((ROOT / "config/config.yaml").read_text())
SUBJECT = "002_S_0413"


def facts(root, config=None, **more):
    """A run below ``root`` on this machine; ``config`` is merged into the paper's sections."""
    merged = copy.deepcopy(PAPER)
    for section, values in (config or {}).items():
        merged[section] = merged[section] | values if isinstance(values, dict) else values
    given = dict(slurm=False, slots=2, conda=False, container=None, requests={}, groups={})
    given |= dict(local=frozenset(), status_command=None, command=())
    return Facts(config=merged, root=root, **(given | more))


def only(findings, level):
    return [finding for finding in findings if finding.level == level]


def image(folder, subject=SUBJECT, date="2006-05-02_12_31_52.0", number=1):
    target = folder / subject / "MPRAGE" / date / f"I{number}"
    target.mkdir(parents=True)
    (target / f"ADNI_{subject}_MR_MPRAGE_S1_I{number}.dcm").touch()
    return target


def sources(root, **config):
    return paths.check_sources(facts(root, config))[0]


def test_misplaced_images_are_found_and_the_right_path_named(tmp_path):
    (tmp_path / "raw/tables").mkdir(parents=True)
    images = tmp_path / "raw/images"
    deep = images / "a/b/c/ADNI"
    image(deep)
    (fault,) = only(sources(tmp_path), ERROR)
    assert fault.remedy == f"Set paths.images to {deep}"
    inside = deep / SUBJECT / "MPRAGE"
    (fault,) = only(sources(tmp_path, paths={"images": str(inside)}), ERROR)
    assert fault.remedy == f"Set paths.images to {deep}"
    # Unpacked archives: ADNI/<subject>.
    assert not only(sources(tmp_path, paths={"images": str(deep.parent)}), ERROR)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("sub-01", "cohort.bids_dir"),
        ("part1.zip", "Unpack"),
        ("DXSUM.csv", "paths.tables"),
        ("holiday", "Put ADNI's images there"),
    ],
)
def test_wrong_content_of_the_images_folder_is_recognised(tmp_path, name, remedy):
    (tmp_path / "raw/tables").mkdir(parents=True)
    (tmp_path / "raw/images" / name).mkdir(parents=True)
    (fault,) = only(sources(tmp_path), ERROR)
    assert remedy in fault.remedy


def test_tables_beside_images_are_refused_before_all_files_are_searched(tmp_path):
    image(tmp_path / "adni/images")
    inner = tmp_path / "adni/csv"
    inner.mkdir()
    (inner / "DXSUM.csv").touch()
    both = {"images": "adni/images", "tables": "adni"}
    (fault,) = only(sources(tmp_path, paths=both), ERROR)
    assert fault.remedy == f"Set paths.tables to {inner}"
    assert check_tables(facts(tmp_path, {"paths": both})) == []  # reported once, under paths


def test_bids_folder_too_high_or_too_low_is_corrected(tmp_path):
    data = tmp_path / "data/oasis"
    (data / "sub-01/anat").mkdir(parents=True)
    for wrong in (data.parent, data / "sub-01", data / "sub-01/anat", tmp_path):
        (fault,) = only(sources(tmp_path, cohort={"bids_dir": str(wrong)}), ERROR)
        assert fault.remedy == f"Set cohort.bids_dir to {data}"


def test_missing_folders_that_a_rule_makes_are_no_error(tmp_path):
    demo = {"paths": {"images": "raw/demo/images", "tables": "raw/demo/tables"}}
    synthetic = {"subjects": 6, "visits": 3, "spacing": 2.0, "beside": {}}
    run = facts(tmp_path, demo)
    run.config["synthetic"] = synthetic
    found, folders = paths.check_sources(run)
    assert [finding.level for finding in found] == [OK]
    counts, _ = scans.count(run, folders)
    assert (counts.subjects, counts.scans, counts.raw) == (6, 18, 18)
    beside = {"SYN": {"subjects": 5, "visits": 2}}
    run.config["synthetic"] = synthetic | {"beside": beside}
    run.config["cohort"]["beside"] = {"SYN": {"preprocessed_dir": str(tmp_path / "brains")}}
    found, folders = paths.check_sources(run)
    assert [finding.level for finding in found] == [OK, OK]
    assert scans.count(run, folders)[0] == Counts(subjects=11, scans=28, raw=18)


def test_preprocessed_scans_need_no_download_and_no_clinica(tmp_path):
    cohort = {"name": "SYN", "preprocessed_dir": str(tmp_path / "scans")}
    run = facts(tmp_path, {"cohort": cohort}, container="no models are counted")
    (fault,) = only(paths.check_sources(run)[0], ERROR)
    assert fault.what.startswith("cohort.preprocessed_dir")
    run.config["synthetic"] = {"subjects": 3, "visits": 2, "spacing": 2.0, "beside": {}}
    assert [finding.level for finding in paths.check_sources(run)[0]] == [OK]  # a rule makes it
    assert scans.count(run, None)[0].scans == 6
    anat = tmp_path / "scans/sub-01/ses-M000/anat"
    anat.mkdir(parents=True)
    (anat / "sub-01_ses-M000_space-T_desc-brain_T1w.nii.gz").touch()
    assert not only(paths.check_sources(run)[0], ERROR)
    assert scans.count(run, None)[0] == Counts(1, 1, 0)
    assert not run.from_download and check_tables(run) == []
    found = space.check_space(
        run, Plan({"preprocessed_input": 1, "import_bids": 1}), Counts(1, 1, 0)
    )
    grid = space.REGISTERED * space.TEMPLATE_MM3 / 1.5**3 + space.PAGE  # no N4, no native brain
    assert next(f for f in found if "still needed" in f.what).what.startswith(space.size(grid))


def test_visits_are_counted_by_the_names_of_folders(tmp_path):
    images = tmp_path / "raw/images"
    image(images, number=1)
    image(images, number=2)  # of the same day: one visit
    image(images, date="2007-05-02_09_00_00.0", number=3)
    image(images, subject="003_S_0001", number=4)
    (images / "004_S_0001/MPRAGE").mkdir(parents=True)
    run = facts(tmp_path)
    counts, found = scans.count(run, paths.find_folders(images))
    assert counts == Counts(subjects=3, scans=3, raw=3)
    (warning,) = only(found, WARNING)
    assert "004_S_0001" in warning.what
    next((images / "003_S_0001").rglob("*.dcm")).rename(images / "003_S_0001/MPRAGE/x")
    _, found = scans.count(run, paths.find_folders(images))
    assert any("I4" in finding.what for finding in only(found, WARNING))


def test_scans_are_expected_by_the_tables_and_the_names_of_folders(tmp_path):
    """The folder of one image that the tables prefer is not there; another of its visit is."""
    make_downloads(tmp_path)
    images, lists = tmp_path / "images", tmp_path / "check/images_to_download.tsv"
    for person in PEOPLE:
        for one in plan_images(person):
            if one.on_disk and one.listed:
                day = one.visit.scan_time.strftime("%Y-%m-%d_%H_%M_%S.0")
                image(images, person.ptid, day, one.series.image)
    next(images.rglob("I9000001")).rename(next(images.rglob("I9000001")).parent / "I9000000")

    def expected(prefer):
        run = facts(tmp_path, {"paths": {"tables": "today"}, "cohort": {"prefer": prefer}})
        folders = paths.find_folders(images)
        counts, found = expected_scans(run, folders, lists)
        return counts, found, scans.count(run, folders, counts)[0]

    counts, found, total = expected("clinica")
    wanted = read_table(lists).set_index("image_id")
    assert wanted["instead"]["I9000001"] == "I9000000"
    there = sum(visit.state == "scan" for person in PEOPLE for visit in person.visits)
    assert total == counts == Counts(len(PEOPLE), there - 1, there - 1)
    assert "ADNI1: 3 scans: bl 1, m06 2" in {finding.what for finding in only(found, OK)}
    (warning,) = (one for one in only(found, WARNING) if "another is there" in one.what)
    assert warning.what.startswith("1 visit:") and "cohort.prefer: downloaded" in warning.remedy
    assert not [one for one in only(found, WARNING) if one.topic == "tables"]
    (merge,) = find_files(tmp_path / "today", "ADNIMERGE")
    intact = merge.read_bytes()
    edit(tmp_path / "today", "ADNIMERGE", put(lambda table: table.index == 0, "AGE", "old"))
    (loss,) = (one for one in only(expected("clinica")[1], WARNING) if one.topic == "tables")
    assert loss.what.startswith("ADNIMERGE:") and "1 value of AGE blanked" in loss.what
    merge.write_bytes(intact)
    taken, found, _ = expected("downloaded")
    assert taken.scans == counts.scans + 1
    assert "ADNI1: 4 scans: bl 2, m06 2" in {finding.what for finding in only(found, OK)}
    assert not [one for one in only(found, WARNING) if "another is" in one.what]


def test_results_below_a_file_or_on_two_file_systems(tmp_path):
    (tmp_path / "file").touch()
    found = paths.check_written(facts(tmp_path, {"paths": {"results": "file/results"}}))
    assert [fault.topic for fault in only(found, ERROR)] == ["paths"]
    (tmp_path / "results").mkdir()
    (tmp_path / "results/bids_parts").symlink_to("/dev/shm")
    warnings = only(paths.check_written(facts(tmp_path)), WARNING)
    assert len(warnings) == 1
    assert "stored twice" in warnings[0].what


def test_all_faults_of_the_tables_are_reported_at_once(tmp_path):
    make_downloads(tmp_path)
    run = facts(tmp_path, {"paths": {"tables": "today"}})
    assert not only(check_tables(run), ERROR)
    for name in ("ADNIMERGE", "APOERES"):
        next((tmp_path / "today").glob(f"{name}*")).unlink()
    file = next((tmp_path / "today").glob("*DXSUM*"))
    file.write_text(file.read_text().replace("DIAGNOSIS", "DIAG"))
    faults = only(check_tables(run), ERROR)
    assert len(faults) == 3
    assert {"ADNIMERGE.csv", "APOERES.csv", file.name} == {f.what.split()[0] for f in faults}
    assert all("IDA" in fault.what + fault.remedy for fault in faults)


NO_PLAN = Plan(fault="none was made")  # without a plan, all missing outputs are needed


def test_space_of_the_papers_cohort(tmp_path):
    found = space.check_space(facts(tmp_path), NO_PLAN, Counts(2906, 10340, 10340))
    volumes = next(f for f in found if f.what.startswith("results/cache/volumes"))
    assert space.size(10340 * 128 * 160 * 128 * 2) == "54.2 GB"
    assert "54.2 GB" in volumes.what
    numbers = space.parameters(PAPER)  # Table 5: 920 M and 130 M
    assert numbers["ldm"] + numbers["ldae"] == pytest.approx(920e6, rel=0.01)
    assert numbers["dae"] == pytest.approx(130e6, rel=0.03)
    # The checkpoints of all models stay until the run ends, not only those of the largest.
    models = next(f for f in found if f.what.startswith("models"))
    assert space.size(44 * sum(numbers.values())) in models.what


def test_space_counts_only_outputs_of_planned_jobs(tmp_path, monkeypatch):
    usage = namedtuple("Usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, 100e9))
    numbers, run = {"ldm": 500_000_000, "dae": 130_000_000}, facts(tmp_path)
    monkeypatch.setattr(space, "parameters", lambda config: numbers)

    def needed(**jobs):
        found = space.check_space(run, Plan(jobs), Counts(2906, 10340, 10340))
        return next(f for f in found if "still needed" in f.what)

    assert needed(n4=128).level == ERROR
    assert needed(report=1).what.startswith("0 kB are still needed")
    one = needed(dae=1).what
    assert one.startswith(f"{space.size(44 * numbers['dae'])} are")
    part = tmp_path / "results/runs/dae/x/checkpoint"
    part.parent.mkdir(parents=True)
    part.write_bytes(bytes(10**7))
    assert needed(dae=1).what != one


def test_space_counts_existing_outputs_and_a_full_disk_is_an_error(tmp_path, monkeypatch):
    run = facts(tmp_path, {"cohort": {"bids_dir": "/data"}, "baselines": []})
    monkeypatch.setattr(space, "_models", lambda *_: space.Output("models", (), 0, 0, ""))
    usage = namedtuple("Usage", "total used free")

    def level(free):
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, free))
        found = space.check_space(run, NO_PLAN, Counts(10, 10, 10))
        return next(f.level for f in found if "still needed" in f.what)

    need = 10 * (2 * 128 * 160 * 128 + 4 * 3 * 16 * 20 * 16 * 4) + 10 * space.PAGE
    need += 10 * (space.N4 + space.BRAIN) * space.HEAD_MM3
    need += 10 * space.REGISTERED * space.TEMPLATE_MM3 / 1.5**3
    assert level(0.99 * need) == ERROR
    assert level(1.01 * need) == WARNING
    assert level(2 * need) == OK
    shard = tmp_path / "results/cache/volumes/shards/shard-0.npy"
    shard.parent.mkdir(parents=True)
    shard.write_bytes(bytes(40_000_000))
    assert level(need - 35_000_000) == WARNING


def test_missing_and_wrong_resources_are_errors(tmp_path):
    (tmp_path / "config").mkdir()
    shutil.copy(ROOT / "config/resources.tsv", tmp_path / "config")
    table = load_resources(tmp_path / "config/resources.tsv")
    run = facts(tmp_path, {"cohort": {"exclude": "nowhere.tsv"}})
    wrong = tmp_path / "resources" / table.loc["mni2009c-mask", "path"]
    wrong.parent.mkdir(parents=True)
    wrong.write_bytes(b"no template")
    faults = only(resources.check_resources(run), ERROR)
    by_name = {fault.what.split(":")[0]: fault for fault in faults}
    outside = [n for n in needed(run.config, table) if table.loc[n, "kind"] != "package"]
    assert set(by_name) == {*outside, "cohort.exclude"}
    assert "checksum" in by_name["mni2009c-mask"].what
    assert "snakemake" in by_name["mni2009c-t1w"].remedy
    assert by_name["convnext-small"].remedy == table.loc["convnext-small", "note"]
    # Baselines start from the pretrained encoder also beside published models.
    published = {"autoencoder": "nowhere.pth"}
    own = {"encoder": PAPER["ldae"]["encoder"] | {"pretrained": "own.pth"}}
    for baselines, named in ((["dae"], True), ([], False)):
        run = facts(tmp_path, {"published": published, "ldae": own, "baselines": baselines})
        keys = [fault.what.split(":")[0] for fault in only(resources.check_resources(run), ERROR)]
        assert ("ldae.encoder.pretrained" in keys) == named


def test_packages_and_programs_are_compared_with_the_locks(tmp_path):
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs/torch.txt").write_text("numpy==0.1\n")
    (tmp_path / "envs/ldae.lock.txt").write_text("# pins\nno-such-package==1.0\n")
    (tmp_path / "envs/clinica.lock.txt").write_text("clinica==0.12.0\ndcm2niix==1.0.20260724\n")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/clinica").write_text("#!/bin/sh\necho clinica, version 0.9.1\n")
    (tmp_path / "bin/clinica").chmod(0o755)
    run = facts(tmp_path, {"software": {"clinica_bin": "bin"}, "device": "cpu"})
    found = check_environment(run)
    errors, warnings = only(found, ERROR), only(found, WARNING)
    assert {"no-such-package 1.0" in errors[0].what, "dcm2niix" in errors[1].what} == {True}
    assert "numpy" in warnings[0].what
    assert "0.9.1 instead of 0.12.0" in warnings[1].what
    assert (len(errors), len(warnings)) == (2, 2)
    # A BIDS data set needs no conversion.
    found = check_environment(facts(tmp_path, {"cohort": {"bids_dir": "/x"}, "device": "cpu"}))
    assert not any("clinica" in finding.what for finding in found)


@pytest.mark.parametrize("tracker", ["wandb", "mlflow"])
def test_package_of_the_tracker_is_looked_for_where_trainings_run(tmp_path, monkeypatch, tracker):
    (tmp_path / "envs").mkdir()
    for name in ("torch.txt", "ldae.lock.txt", "clinica.lock.txt"):
        (tmp_path / "envs" / name).write_text("")
    (tmp_path / "envs/ldae.yaml").write_text("dependencies:\n  - pip:\n      - other==1.0\n")
    changes = {"training": {"tracker": tracker}, "cohort": {"bids_dir": "/x"}, "device": "cpu"}

    def of_tracker(**where):
        found = check_environment(facts(tmp_path, changes, **where))
        (finding,) = [one for one in found if "training.tracker" in one.what]
        return finding

    monkeypatch.setattr("ldae.training.trackers.choice.find_spec", lambda name: None)
    missing = of_tracker()
    assert missing.level == ERROR and f"make env TRACKER={tracker}" in missing.remedy
    assert PACKAGES[tracker] in missing.what
    assert of_tracker(container="image.sif").level == WARNING
    assert of_tracker(conda=True).level == ERROR
    with (tmp_path / "envs/ldae.yaml").open("a") as stream:
        stream.write(f"      - {PACKAGES[tracker]}==1.0\n")
    assert of_tracker(conda=True).level == OK
    changes["training"] = {"tracker": "tensorboard"}
    found = check_environment(facts(tmp_path, changes))
    assert not any("tracker" in finding.what for finding in found)


NODES = """cpu*|1-00:00:00|64000+|16|(null)
gpu|12:00:00|256000|32|gpu:a100:4(S:0-1),shard:8
gpu|12:00:00|64000|8|gpu:2
"""


def test_slurm_partitions_are_read():
    assert slurm.read_nodes(NODES) == [
        slurm.Nodes("cpu", True, 1440, 64000, 16, 0),
        slurm.Nodes("gpu", False, 720, 256000, 32, 4),
        slurm.Nodes("gpu", False, 720, 64000, 8, 2),
    ]
    assert [slurm.minutes(limit) for limit in ("infinite", "30:00", "2-12:00:00")] == [
        None, 30, 3600,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("requests", "message"),
    [
        ({"mem_mb": 64000, "threads": 16, "runtime": 1440}, None),
        ({"gpu": 1}, "no GPUs a node, 1 asked for"),
        ({"gpu": 4, "slurm_partition": "gpu"}, None),
        ({"gpu": 8, "slurm_partition": "gpu"}, "4 GPUs a node, 8 asked"),
        ({"gpu": 8, "slurm_partition": "gpu", "nodes": 2}, "nodes: 2 with gpu: 8"),
        (
            {"gpu": 0, "gres": "gpu:a100:4", "threads": 64, "cpus_per_task": 32}
            | {"slurm_partition": "gpu", "nodes": 2},
            None,
        ),
        ({"gres": "gpu:5", "slurm_partition": "gpu", "nodes": 2}, "4 GPUs a node, 5 asked"),
        ({"gpu": 2, "mem_mb": 300000, "slurm_partition": "gpu"}, "256000 MB of memory a node"),
        ({"gpu": 4, "threads": 33, "slurm_partition": "gpu"}, "32 CPUs a node"),
        ({"runtime": 721, "slurm_partition": "gpu"}, "720 minutes"),
        ({"gpu": 2, "threads": 9, "mem_mb": 64001, "slurm_partition": "gpu"}, None),
        ({"slurm_partition": "cpus"}, "no partition cpus"),
        # A list: any of them; all must exist.
        ({"slurm_partition": "cpu,gpu", "gpu": 2}, None),
        ({"slurm_partition": "gpu, cpu", "runtime": 1000}, None),
        ({"slurm_partition": "gpu,cpus", "gpu": 2}, "no partition cpus"),
        ({"slurm_partition": "cpu,cpu", "gpu": 1}, "no GPUs a node, 1 asked for"),
    ],
)
def test_a_job_fits_its_partition_or_the_fault_is_named(requests, message):
    (found,) = slurm.compare_with_partitions({"rule": requests}, slurm.read_nodes(NODES))
    assert (found.level == OK) == (message is None)
    assert message is None or message in found.what
    assert ("cluster default" in found.what) == (
        message is None and "slurm_partition" not in requests
    )


def test_all_requests_that_exceed_a_partition_are_reported():
    requests = {"gpu": 1, "runtime": 9999, "mem_mb": 10**6}
    found = slurm.compare_with_partitions({"rule": requests}, slurm.read_nodes(NODES))
    assert [finding.level for finding in found] == [ERROR] * 3
    # One type of node has the GPUs, another the memory.
    kinds = "p*|infinite|256000|8|(null)\np*|infinite|64000|8|gpu:2\n"
    (found,) = slurm.compare_with_partitions(
        {"rule": {"gpu": 1, "mem_mb": 100000}}, slurm.read_nodes(kinds)
    )
    assert "at once" in found.what


def test_request_that_only_a_later_attempt_exceeds_is_a_warning():
    requests = {"mem_mb": 40000, "runtime": 480, "last_mem_mb": 120000, "last_runtime": 1440}
    found = slurm.compare_with_partitions({"rule": requests}, slurm.read_nodes(NODES))
    assert [finding.level for finding in found] == [WARNING, OK]
    assert "retried" in found[0].what
    assert "64000 MB of memory a node, 120000 asked for" in found[0].what


@pytest.mark.parametrize(
    ("account", "level"),
    [("BrainLab", OK), ("brainlab", OK), ("other,brainlab", OK), ("nobody", ERROR), (None, OK)],
)
def test_accounts_are_compared_without_case(account, level, monkeypatch):
    monkeypatch.setattr(slurm.shutil, "which", lambda name: name)
    monkeypatch.setattr(slurm, "_ask", lambda *command: (0, "brainlab\nOther"))
    assert slurm._account({"ldae": {"slurm_account": account}}).level == level


def test_names_that_snakemake_would_compute_are_errors():
    asked = {"slurm_account": "2024-1", "slurm_account_becomes": "2023"}
    (found,) = slurm._computed({"ldm": asked, "ldae": asked, "n4": {"slurm_account": "lab"}})
    assert found.level == ERROR and "2023" in found.what
    assert "slurm_account: \"'2024-1'\"" in found.remedy


@pytest.mark.parametrize(("age", "levels"), [("30 sec", [ERROR]), ("300 sec", [])])
def test_min_job_age_shorter_than_snakemake_waits_is_an_error(age, levels, tmp_path, monkeypatch):
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f"#!/bin/sh\necho 'MessageTimeout = 10 sec\nMinJobAge   = {age}'\n")
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert [finding.level for finding in slurm.check_min_job_age()] == levels


def test_group_is_submitted_as_one_job():
    requests = {"n4": {"runtime": 480, "mem_mb": 4000}, "pack": {"runtime": 60, "mem_mb": 6000}}
    submitted = slurm.submitted(requests, {"n4": "scans", "pack": "scans"})
    assert submitted == {"group scans": {"runtime": 540, "mem_mb": 6000}}


def parse(tmp_path, output, code=0):
    script = tmp_path / "dry_run.py"
    script.write_text(f"import sys; print({output!r}); sys.exit({code})")
    return plan.read_plan(plan.start_dry_run((sys.executable, str(script))))


def test_plan_is_read_from_the_dry_run_with_its_error(tmp_path):
    table = "job  count\n---  -----\nall   1\nn4   64\nldm   1\ntotal  66\n"
    read = parse(tmp_path, f"Building DAG of jobs...\nJob stats:\n{table}\nReasons:\n  n4 9\n")
    assert read.jobs == {"n4": 64, "ldm": 1}
    assert plan.describe(read)[0].what == "65 jobs of 2 rules: n4 64, one each of ldm"
    error = "WorkflowError in file x, line 2:\npaths.images: no such folder\nTraceback:\n File"
    (found,) = plan.describe(parse(tmp_path, f"Building DAG of jobs...\n{error}", 1))
    assert found.level == ERROR
    assert "paths.images: no such folder" in found.what
    assert "Traceback" not in found.what
    assert "nothing is to be done" in plan.describe(parse(tmp_path, "Nothing to be done."))[0].what


def test_cost_scales_the_papers_hours_or_gives_no_estimate(tmp_path):
    requests = {name: {"gpu": 1} for name in ("autoencoder", "ldm", "ldae", "dae")}
    requests["supervised_age"] = {"gpu": 1}
    jobs = Plan(dict.fromkeys(requests, 1))

    def sentences(counts, **config):
        return " ".join(
            f.what for f in estimate(facts(tmp_path, config, requests=requests), jobs, counts)
        )

    full = sentences(Counts(2906, 10340, 10340))
    assert "ldm: 36 h, 36 GPU-hours" in full  # Table 3: 18 hours on two
    assert "dae: 14 days, 336 GPU-hours" in full
    assert "ldm: 36 h" not in sentences(Counts(2906, 5170, 5170))
    assert "ldm: 18 h, 18 GPU-hours" in sentences(Counts(2906, 5170, 5170))
    assert "no estimate, nothing was measured at this size: supervised_age" in full
    small = sentences(Counts(2906, 10340, 10340), volumes={"shape": [64, 80, 64]})
    assert "ldm" in small.partition("no estimate")[2]


def test_cost_prefers_measured_times(tmp_path):
    timing = tmp_path / "results/benchmarks/n4"
    timing.mkdir(parents=True)
    for shard in range(2):
        (timing / f"shard-{shard}.tsv").write_text("s\tcpu_time\tmax_rss\n600\t600\t300\n")
    requests = {"n4": {"threads": 1}}
    (finding, *_) = estimate(
        facts(tmp_path, requests=requests, slots=4), Plan({"n4": 8}), Counts(9, 9, 9)
    )
    assert finding.what == "n4: 20 min (measured in these results)"  # 8 x 600 s, four at a time


def test_cost_scales_measured_epochs_of_the_same_settings(tmp_path):
    folder = tmp_path / "results/models/ldm"
    folder.mkdir(parents=True)
    (folder / "history.tsv").write_text("epoch\tseconds\n1\t7.2\n2\t7.2\n")
    form = {"shape": [3, 16, 20, 16]}
    card = {"config": PAPER["ldm"] | {"epochs": 2}, "machine": {"device": "cuda"}, "form": form}
    write_json(card | {"scans": {"train": 891}}, folder / "model.json")

    def sentence(scans, **config):
        run = facts(tmp_path, config, requests={"ldm": {"gpu": 1}})
        return estimate(run, Plan({"ldm": 1}), Counts(9, scans, scans))[0].what

    # 891 of 1,000 scans are for training.
    assert sentence(1000).startswith("ldm: 60 min, 1 GPU-hours (by the epochs")
    assert sentence(1780).startswith("ldm: 107 min, 1.78 GPU-hours")
    assert sentence(10000).startswith("ldm: 10 h, 10 GPU-hours (by the epochs")
    assert "the paper's A100 hours" in sentence(1000, ldm={"batch_size": 9})
    assert "by the epochs" not in sentence(1000, volumes={"shape": [64, 80, 64]})


def test_check_report_is_aligned_and_does_not_wrap_remedies(tmp_path):
    remedy = "python -c 'one long command' " * 10
    found = [Finding(OK, "paths", "fine"), Finding(ERROR, "resources", "word " * 60, remedy)]
    lines = text(found).splitlines()
    assert lines[-1] == "1 error, 0 warnings"
    assert [line.index(word) for line, word in zip(lines[:2], ("fine", "word"), strict=True)] == [
        18, 18,
    ]  # fmt: skip
    assert f"-> {remedy}" in text(found)
    write(found, tmp_path / "check")
    rows = (tmp_path / "check/check.tsv").read_text().splitlines()
    assert rows[0].split("\t") == ["level", "topic", "what", "remedy"]
    assert rows[1] == "OK\tpaths\tfine\tn/a"


def test_table_of_parameters_is_that_of_the_shipped_configuration():
    assert json.loads(TABLE.read_text()) == {
        "key": key_of(PAPER),
        "parameters": count_parameters(PAPER),
    }


def test_parameters_of_another_configuration_are_counted(monkeypatch):
    rate = {**PAPER, "ldm": {**PAPER["ldm"], "learning_rate": 0.5}}
    assert key_of(rate) == key_of(PAPER)
    wide = {**PAPER, "ldm": {**PAPER["ldm"], "base_channels": 32}}
    monkeypatch.setattr("ldae.preflight.parameters.count_parameters", lambda config: "counted")
    assert parameters(wide) == "counted" and isinstance(parameters(rate), dict)
