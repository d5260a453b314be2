"""Display of a run: stages, expected times, forecast, failures, and Snakemake's logger itself."""

import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from helpers.project import copy_files, load_workflow
from ldae.errors import UserError
from ldae.files import read_table, write_table
from ldae.orchestration.job_failure import failure_reason
from ldae.orchestration.run_display import RunDisplay
from ldae.orchestration.run_forecast import Work, remaining_seconds
from ldae.orchestration.run_progress import Job, RunProgress
from ldae.orchestration.run_stages import STAGES, stage_of
from ldae.orchestration.run_times import (
    Recorded,
    Times,
    benchmark_of,
    read_times,
    record_times,
)
from ldae.orchestration.terminal import Terminal

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "profiles/demo/times.tsv"
SNAKEFILE = '''
rule all:
    input: "ldm.txt", "qc.txt"

rule scans:
    output: "scans.txt"
    message: "Indexing"
    shell: "echo noise; echo noise >&2; touch {output}"

rule ldm:
    input: "scans.txt"
    output: "ldm.txt"
    log: "logs/ldm.log"
    params: ok=config.get("ok")
    shell:
        """
        echo "2026-01-02 03:04:05,678 ERROR ldm: no volumes in results/cache: run it first" > {log}
        test {params.ok} = 1 && touch {output}
        """

rule qc:
    input: "scans.txt"
    output: "qc.txt"
    params: seconds=config.get("seconds", 0)
    shell: "touch begun; sleep {params.seconds}; touch {output}"
'''


@pytest.fixture(scope="module")
def rules():
    """Rules of the demo, by name."""
    return {rule.name: rule for rule in load_workflow("config/demo.yaml").rules}


def snakemake(folder, *words, **more):
    """Start Snakemake on ``SNAKEFILE`` with the logger."""
    (folder / "Snakefile").write_text(SNAKEFILE)
    command = [sys.executable, "-m", "snakemake", "--logger", "stages", "--cores", "1", *words]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=-1, stderr=subprocess.STDOUT, text=True, **more
    )


def finish(process):
    """Wait for a process; returns its output and exit status."""
    text = process.communicate(timeout=240)[0]
    return text, process.returncode


def wait_for_job(process, folder):
    """Wait until the job of ``SNAKEFILE`` that takes its time has begun."""
    while not (folder / "begun").exists():
        assert process.poll() is None
        time.sleep(0.05)


def job(rule, began=0.0, threads=1):
    return Job(rule, f"Doing {rule}", threads, (f"{rule}.log",), {}, began)


def test_every_rule_of_the_workflow_has_a_stage(rules):
    titles = {title for title, _ in STAGES}
    assert {stage_of(name) for name in rules} <= titles
    assert stage_of("supervised_predictions_age") == stage_of("probes") != stage_of("figure_probes")
    assert stage_of("figure5_lda") == stage_of("tables_paper")
    assert stage_of("mine") == "mine"


def test_shipped_times_are_those_of_all_rules_that_have_benchmarks(rules):
    timed = {benchmark_of(name) for name, rule in rules.items() if rule.benchmark}
    times = read_times(TABLE)
    absent = {"published", "convert_study", "code_shard", "embeddings_encoder"}  # from the demo
    assert set(times) == timed - absent
    assert all(one.seconds > 0 and one.threads >= 1 for one in times.values())


@pytest.mark.parametrize(
    ("running", "waiting", "cores", "seconds"),
    [
        ([], [], 2, 0),
        ([Work("a", 5)], [], 2, 5),
        ([], [Work("a", 10, jobs=4)], 2, 20),  # two at a time
        ([], [Work("a", 10, 8, jobs=2)], 2, 20),  # one at a time: each takes all cores
        ([Work("a", 7)], [Work("b", 10)], 2, 17),  # b needs a
        ([Work("a", 7)], [Work("c", 10)], 2, 10),  # beside each other
        ([], [Work("a", 3, jobs=2), Work("b", 10, 2), Work("c", 4)], 2, 17),
        ([], [Work("x", 3), Work("y", 4)], 2, 7),  # which need each other: one after the other
    ],
)
def test_forecast_places_jobs_on_cores(running, waiting, cores, seconds):
    needs = {"b": {"a"}, "x": {"y"}, "y": {"x"}}
    assert remaining_seconds(running, waiting, needs, cores) == seconds


def test_expected_time_comes_from_this_run_then_earlier_ones_then_the_table():
    recorded = {name: Recorded(100.0, 2) for name in ("ldm", "ldae", "dae", "figures")}
    times = Times(recorded=recorded, unrecorded={"check"})
    assert times.seconds("ldae") == 100 and times.threads("ldae") == 2
    assert times.seconds("figure5_lda") == 100
    assert times.seconds("autoencoder") is None  # of unknown time
    assert times.seconds("check") == 1  # no run will ever record it
    times.add("ldm", 310.0)  # a slower machine
    assert times.seconds("ldm") == 310
    assert times.seconds("ldae") == pytest.approx(100 * (310 + 10) / (100 + 10))
    times.earlier = {"ldae": Recorded(200.0), "ldm": Recorded(150.0)}  # a quieter machine
    assert times.seconds("ldae") == pytest.approx(200 * (310 + 10) / (150 + 10))
    assert times.seconds("dae") == pytest.approx(100 * (310 + 400 + 10) / (200 + 10))


def test_progress_counts_stages_and_time_left():
    now = [0.0]
    times = Times({"n4": Recorded(10.0), "qc": Recorded(4.0)}, unrecorded={"all"})
    progress = RunProgress(times, lambda: now[0])
    progress.cores = 2
    progress.plan({"n4": 3, "qc": 1, "all": 1})
    progress.order([("n4", "qc"), ("qc", "all")])
    assert progress.left() == 20 + 4 + 1
    progress.start(1, job("n4"))
    stage = progress.start(2, job("n4"))
    now[0] = 4.0
    assert progress.left(afresh=True) == 6 + 10 + 4 + 1
    now[0] = 5.0
    assert progress.left() == 20  # counted down
    now[0] = 30.0  # three times as long as expected
    assert progress.left() == pytest.approx(3 + 10 + 4 + 1)
    assert progress.finish(1) is stage and not stage.finished
    now[0] = 40.0
    assert progress.finish(2) is stage
    now[0] = 50.0  # nothing of the stage runs for a while
    progress.start(3, job("n4", began=50.0))
    now[0] = 55.0
    assert progress.finish(3).finished and stage.seconds(99.0) == 45
    assert progress.finish(4) is None  # of a target that never began
    assert progress.done == 3 and progress.jobs == 5


def test_progress_reads_times_of_earlier_runs_beside_a_benchmark(tmp_path):
    for rule, seconds in (("n4/shard-0", 7), ("n4/shard-1", 9), ("ldae", 90)):
        path = tmp_path / f"benchmarks/{rule}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"s\tcpu_time\tmax_rss\n{seconds}\t1\t1\n")
    progress = RunProgress(Times())
    progress.plan({"n4": 2, "ldae": 1})
    assert progress.left() is None and progress.untimed() == ["n4", "ldae"]
    progress.start(0, job("n4", time.time()), str(tmp_path / "benchmarks/n4/shard-0.tsv"))
    assert progress.times.seconds("n4") == 8 and progress.times.seconds("ldae") == 90


STAMP = "2026-01-02 03:04:05,678"


@pytest.mark.parametrize(
    ("log", "said", "reason"),
    [
        (
            f"{STAMP} INFO all well\n{STAMP} ERROR ldm: a file is missing: make it\n",
            "exit",
            "ldm: a file is missing: make it",
        ),
        (
            f"{STAMP} ERROR ldm: two\nlines\n{STAMP} WARNING late\n",
            "",
            "ldm: two\nlines",
        ),
        (
            f"{STAMP} ERROR ldm failed\nTraceback (most recent call last):\n  File x\n    y\n"
            "ValueError: 3\n",
            "",
            "ldm failed: ValueError: 3 (a defect; its traceback is in the log)",
        ),
        ("half way\n\n", "died with <Signals.SIGTERM: 15>", "its log ends with: half way (died"),
        ("", "Command returned non-zero exit status 137.", "It ended without a word (returned non"),
        (None, "returned non-zero exit status 137", "memory did not suffice"),
        (None, "MissingInput: x\n", "MissingInput: x"),
    ],
)
def test_reason_of_a_failure_is_read_from_the_log(tmp_path, log, said, reason):
    path = tmp_path / "job.log"
    if log is not None:
        path.write_text(log)
    assert reason in failure_reason([path], said)


def test_display_on_a_terminal_redraws_one_line_and_keeps_ended_stages(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    main, other = pty.openpty()
    display = RunDisplay(TABLE, Terminal(other))
    os.close(other)
    display.progress.cores = 2
    display.plan({"n4": 2, "ldm": 1})
    display.start(1, job("n4", time.time()), None)
    display.start(2, job("n4", time.time()), None)
    display.finish(1)
    display.finish(2)
    display.close()
    text = _read_all(main)
    kept = [line.split("\x1b[K")[-1] for line in text.split("\r\n")]
    assert "Bias field correction (N4) (2/2) 0:00.  All done in about" in text
    assert len([line for line in kept if "Bias" in line]) == 1 and kept[-1] == ""
    assert "Doing n4" not in text


def _read_all(descriptor):
    text = b""
    try:
        while more := os.read(descriptor, 4096):
            text += more
    except OSError:  # how Linux says that the other end is closed
        return text.decode()
    return text.decode()


def test_logger_shows_failures_and_goes_on(tmp_path):
    text, status = finish(snakemake(tmp_path, "--keep-going"))
    lines = text.splitlines()
    assert status == 1 and "\x1b" not in text and "noise" not in text and len(lines) < 20
    shown = [line.strip() for line in lines]
    assert "4 jobs in 3 stages, 1 core at a time." in text
    assert any(line.endswith("Indexing") for line in shown)
    begun = next(k for k, line in enumerate(shown) if line.endswith("FAILED: rule ldm"))
    assert shown[begun + 1] == "no volumes in results/cache: run it first"
    assert shown[begun + 2] == f"Its log: {tmp_path / 'logs/ldm.log'}"
    assert any("Quality control and ledger" in line for line in shown)
    assert shown[-2].startswith("Failed after") and "2 of 4 jobs done" in shown[-2]
    assert shown[-1].startswith("Mend it, then run the same command again")
    log = next(line for line in shown if line.startswith("Snakemake's log: ")).split(": ")[1]
    logged = Path(log).read_text()
    assert logged.count("noise\n") == 2 and "Error in rule ldm" in logged

    text, status = finish(snakemake(tmp_path, "--config", "ok=1"))
    assert status == 0 and "2 jobs in 1 stage" in text
    assert re.search(r"All done in \d+:\d\d\.", text)
    assert "FAILED" not in text and "Scan table" not in text


def test_workflow_tells_the_logger_which_rules_record_no_times(tmp_path):
    copy_files(tmp_path)
    command = [sys.executable, "-m", "snakemake", "--logger", "stages", "--cores", "1"]
    run = subprocess.Popen(
        [*command, "--configfile", "config/golden.yaml", "--", "resources_list"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    text, status = finish(run)
    assert status == 0, text
    assert "1 core at a time. All done in less than a minute." in text, text


def test_logger_shows_errors_of_the_workflow_itself(tmp_path):
    text, status = finish(snakemake(tmp_path, "nowhere.txt"))
    assert status == 1 and "MissingRuleException" in text and "nowhere.txt" in text
    assert "Failed before any job began." in text


def test_logger_ends_on_ctrl_c_and_the_next_run_goes_on(tmp_path):
    run = snakemake(
        tmp_path,
        *("--config", "ok=1", "seconds=60"),
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    read = ""
    while "Quality control and ledger" not in read:
        line = run.stdout.readline()
        assert line, read  # else Snakemake has ended
        read += line
    wait_for_job(run, tmp_path)  # Snakemake misses a Ctrl-C before its job is there
    os.killpg(run.pid, signal.SIGINT)
    text, status = finish(run)
    assert status != 0 and "FAILED" not in text
    assert "Stopped after" in text and "run the same command again" in text
    text, status = finish(snakemake(tmp_path, "--dry-run", "--config", "ok=1"))
    assert status == 0 and "All done" not in text and "Quality control" in text


def test_logger_tells_how_to_take_away_the_lock_of_a_killed_run(tmp_path):
    asked = ("--config", "ok=1", "seconds=60", "--", "all")  # killed long before
    run = snakemake(tmp_path, *asked, start_new_session=True)
    wait_for_job(run, tmp_path)
    os.killpg(run.pid, signal.SIGKILL)
    finish(run)
    text, status = finish(snakemake(tmp_path, *asked))
    assert status == 1 and "Mend it" not in text
    (command,) = (line for line in text.splitlines() if line.startswith("    ") and "-m" in line)
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    subprocess.run(shlex.split(command), cwd=tmp_path, env=environment, check=True)
    text, status = finish(snakemake(tmp_path, "--dry-run", "--config", "ok=1"))
    assert status == 0 and "Quality control" in text


def test_recorded_times_are_a_jobs_mean_seconds(tmp_path):
    results = tmp_path / "results"
    for rule, seconds in (("n4/shard-0", 7), ("n4/shard-1", 10), ("ldae", 90), ("report", 3)):
        path = results / f"benchmarks/{rule}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"s\tcpu_time\tmax_rss\n{seconds}\t1\t1\n")
    with pytest.raises(UserError, match="has no finished run"):
        record_times(results, tmp_path / "times.tsv")
    asked = pd.DataFrame({"rule": ["ldae", "n4"], "threads_asked": [2, None]})
    (results / "tables").mkdir()
    write_table(asked, results / "tables/resources.tsv")
    assert "3 rules" in record_times(results, tmp_path / "times.tsv")[0]
    table = read_table(tmp_path / "times.tsv")
    assert table.values.tolist() == [["ldae", 1, 90, 2], ["n4", 2, 8.5, 1], ["report", 1, 3, 1]]
    assert read_times(tmp_path / "times.tsv")["n4"] == Recorded(8.5, 1)
    with pytest.raises(UserError, match="no such table"):
        read_times(tmp_path / "none.tsv")
    (tmp_path / "bad.tsv").write_text("rule\tseconds\nldm\t1\n")
    with pytest.raises(UserError, match="needs the columns"):
        read_times(tmp_path / "bad.tsv")


def test_display_keeps_errors_of_jobs_and_of_the_run_apart(tmp_path, capfd):
    """A job without its output is an error of the run; another that fails is a job's."""
    display = RunDisplay(None, Terminal())
    display.plan({"n4": 1, "qc": 1})
    display.start(1, job("n4"), None)
    display.start(2, job("qc"), None)
    display.report_error("MissingOutputException: n4.tsv", of_job=False)
    display.report_error("Command returned non-zero exit status 137.", of_job=True)
    display.fail(2, "qc", [str(tmp_path / "qc.log")])
    display.report_error("WorkflowError:\nAt least one job did not complete successfully.", False)
    display.close()
    lines = capfd.readouterr().err.splitlines()
    assert lines[3] == "MissingOutputException: n4.tsv"
    assert lines[4].endswith("FAILED: rule qc") and "exit status 137" in lines[5]
    assert lines[7].startswith("Failed after") and "rule qc. 0 of 2 jobs done" in lines[7]
    assert len(lines) == 9


def test_display_tells_of_another_attempt(capfd):
    display = RunDisplay(None, Terminal())
    display.plan({"n4": 1})
    display.start(1, job("n4"), None)
    display.fail(1, "n4", [], "the node is gone")
    display.start(1, job("n4"), None)
    display.finish(1)
    display.close()
    text = capfd.readouterr().err
    assert "the node is gone" in text and "rule n4 is tried again." in text
    assert "All done in" in text and "Mend it" not in text
