"""Check of Slurm: the partitions, accounts and resources that jobs request exist here."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ldae.preflight.report import ERROR, OK, WARNING, Finding, some
from ldae.preflight.run_facts import Facts

TOPIC = "slurm"
PROFILE = "profiles/slurm/config.yaml"
TIMEOUT = 20  # seconds that a command of Slurm may take
# Seconds for which squeue must list ended jobs: the workflow polls every 3 minutes, and waits for
# ever for a job that squeue no longer lists.
REMEMBERED = 240


@dataclass(frozen=True)
class Nodes:
    """Nodes of one kind in a partition: minutes (None: no limit), MB of memory, CPUs, GPUs."""

    partition: str
    default: bool
    minutes: int | None
    memory: int
    cpus: int
    gpus: int


def check_slurm(facts: Facts) -> list[Finding]:
    """Findings about the requests of profile and rules; none if jobs run on this machine."""
    if not facts.slurm:
        return []
    if shutil.which("sbatch") is None or shutil.which("sinfo") is None:
        text = "sbatch and sinfo are not on PATH: no job can be submitted from here"
        return [Finding(ERROR, TOPIC, text, "Run on a login node, or `module load slurm`.")]
    remote = {name: about for name, about in facts.requests.items() if name not in facts.local}
    requests = submitted(remote, facts.groups)
    found = [*_computed(requests), _account(requests)]
    code, said = _ask("sinfo", "-h", "-o", "%P|%l|%m|%c|%G")
    if code:
        text = f"sinfo does not answer: {said}"
        return [*found, Finding(ERROR, TOPIC, text, "Ask your administrators; is slurmctld up?")]
    if facts.status_command == "squeue":
        found += check_min_job_age()
    return [*found, *compare_with_partitions(requests, read_nodes(said))]


def submitted(
    requests: Mapping[str, Mapping[str, Any]], groups: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """Requests of what is submitted: single rules, and groups of rules.

    The jobs of a group run one after the other in one Slurm job, so runtimes add up and the largest
    of every other number counts.
    """
    found: dict[str, dict[str, Any]] = {}
    for rule, about in requests.items():
        if rule not in groups:
            found[rule] = dict(about)
            continue
        whole = found.setdefault(f"group {groups[rule]}", {})
        for key, value in about.items():
            if not isinstance(value, int):
                whole.setdefault(key, value)
            elif key.endswith("runtime"):
                whole[key] = whole.get(key, 0) + value
            else:
                whole[key] = max(whole.get(key, 0), value)
    return found


def _computed(requests: Mapping[str, Mapping[str, Any]]) -> list[Finding]:
    """Errors on names that Snakemake would compute, such as the account 2024-1 (2023)."""
    found = {
        (key.removesuffix("_becomes"), about[key.removesuffix("_becomes")]): about[key]
        for about in requests.values()
        for key in about
        if key.endswith("_becomes")
    }
    return [
        Finding(
            ERROR, TOPIC, f"{key} {written} would be taken as Python: {becomes}",
            f"Write it in {PROFILE} with two kinds of quotation marks: {key}: \"'{written}'\"",
        )
        for (key, written), becomes in sorted(found.items())
    ]  # fmt: skip


def check_min_job_age() -> list[Finding]:
    """The finding that squeue drops ended jobs before the workflow has seen their end; or none."""
    code, said = _ask("scontrol", "show", "config") if shutil.which("scontrol") else (1, "")
    match = re.search(r"^MinJobAge\s*=\s*(\d+)", said, re.MULTILINE)
    if code or match is None:
        text = "scontrol does not show MinJobAge, the time for which squeue lists ended jobs"
        return [Finding(WARNING, TOPIC, text, f"It must be {REMEMBERED} s or more.")]
    if int(match[1]) >= REMEMBERED:
        return []
    text = f"squeue drops ended jobs after {match[1]} s, and Snakemake would wait for them for ever"
    remedy = f"In {PROFILE} set slurm-status-command: sacct, if `sacct` answers here; else ask your"
    remedy += f" administrators for MinJobAge={REMEMBERED} or more (Slurm's default is 300)."
    return [Finding(ERROR, TOPIC, text, remedy)]


def _ask(*command: str) -> tuple[int, str]:
    try:
        done = subprocess.run(
            command, text=True, timeout=TIMEOUT, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return 1, f"no answer within {TIMEOUT} s"
    return done.returncode, done.stdout.strip()


def read_nodes(text: str) -> list[Nodes]:
    """Parse the output of ``sinfo -h -o '%P|%l|%m|%c|%G'``; lines of another form are left out."""
    rows = (line.split("|") for line in text.splitlines() if line.count("|") == 4)
    return [
        Nodes(name.rstrip("*"), name.endswith("*"), minutes(limit), _int(memory), _int(cpus),
              _gpus(gres))
        for name, limit, memory, cpus, gres in rows
        if memory[:1].isdigit() and cpus[:1].isdigit()
    ]  # fmt: skip


def minutes(limit: str) -> int | None:
    """Minutes of ``1-00:00:00``, ``12:00:00`` or ``30:00``; None if there is no limit."""
    match = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", limit.strip())
    if match is None:
        return None
    days, hours, mins, _ = (int(part or 0) for part in match.groups())
    return (days * 24 + hours) * 60 + mins


def _int(text: str) -> int:
    return int(re.match(r"\d+", text)[0])  # `64000+`: the least of several nodes


def _gpus(gres: str) -> int:
    """GPUs of ``gpu:a100:4(S:0-1),shard:8``; one where no number follows, as Slurm counts."""
    parts = [part.split(":") for part in re.sub(r"\([^)]*\)", "", gres).split(",")]
    numbers = [fields[-1] for fields in parts if fields[0] == "gpu"]
    return sum(int(number) if number.isdigit() else 1 for number in numbers)


def compare_with_partitions(
    requests: Mapping[str, Mapping[str, Any]], nodes: list[Nodes]
) -> list[Finding]:
    """Compare the requests of each rule with the nodes of its partition; one finding a fault.

    A request that fits at the first attempt, but not at the last, with more memory and time, is a
    warning.

    Args:
        requests: Requests by rule or group, of :func:`submitted`.
        nodes: All nodes of the cluster.
    """
    names = sorted({node.partition for node in nodes})
    default = next((node.partition for node in nodes if node.default), None)
    found, faults, fine = [], {}, {}
    later: dict[tuple[str, str], list[str]] = {}
    for rule, about in requests.items():
        asked = about.get("slurm_partition")
        listed = _names(asked or default or "")
        if not listed:
            key = ("there is no default partition, and the profile names none", f"one of {names}")
            faults.setdefault(key, []).append(rule)
            continue
        absent = [name for name in listed if name not in names]
        if absent:
            key = (f"there is no partition {some(absent)}", f"one of: {some(names)}")
            faults.setdefault(key, []).append(rule)
            continue
        there = [[node for node in nodes if node.partition == name] for name in listed]
        unfit = _unfit_everywhere(about, there)
        for fault in unfit:
            faults.setdefault(fault, []).append(rule)
        if not unfit:
            default_note = "" if asked else " (cluster default: null in the profile)"
            fine.setdefault(",".join(listed) + default_note, []).append(rule)
            for fault in _unfit_everywhere(about | last_attempt(about), there):
                later.setdefault(fault, []).append(rule)
    for (what, remedy), rules in faults.items():
        text = f"{what}: {some(sorted(rules), 60)}"
        found.append(Finding(ERROR, TOPIC, text, f"Set in {PROFILE}, for these: {remedy}"))
    for (what, remedy), rules in later.items():
        text = f"if a failed job is retried: {what}: {some(sorted(rules), 60)}"
        found.append(Finding(WARNING, TOPIC, text, f"If so, set in {PROFILE}: {remedy}"))
    for partition, rules in fine.items():
        found.append(
            Finding(OK, TOPIC, f"the requests of {len(rules)} rules fit partition {partition}")
        )
    return found


def last_attempt(about: Mapping[str, Any]) -> dict[str, Any]:
    """Memory and minutes of a rule's last attempt, under the names of the first's."""
    return {key.removeprefix("last_"): about[key] for key in about if key.startswith("last_")}


def _unfit_everywhere(
    about: Mapping[str, Any], partitions: list[list[Nodes]]
) -> list[tuple[str, str]]:
    """Faults of a request that fits none of some partitions, of which Slurm may take any."""
    faults = [_unfit(about, nodes) for nodes in partitions]
    return [fault for each in faults for fault in each] if all(faults) else []


def _unfit(about: Mapping[str, Any], nodes: list[Nodes]) -> list[tuple[str, str]]:
    """Faults and remedies of a request that no node of a partition can meet."""
    need = {
        "gpus": (about.get("gpu") or 0) or _gpus(about.get("gres") or ""),
        "cpus": about.get("cpus_per_task") or about.get("threads") or 0,
        "memory": about.get("mem_mb") or 0,
    }
    wanted = (
        ("gpus", "GPUs a node", "slurm_partition: one with GPUs"),
        ("cpus", "CPUs a node", "slurm_partition, or threads in config.yaml"),
        ("memory", "MB of memory a node", "slurm_partition, or mem_mb"),
    )
    name, found = f"partition {nodes[0].partition}", []
    if (about.get("nodes") or 1) > 1 and about.get("gpu"):
        text = f"nodes: {about['nodes']} with gpu: {about['gpu']} cannot start"
        return [(text, "gpu: 0 and gres, cpus_per_task, mem_mb of one node (docs/cluster.md)")]
    limits = [node.minutes for node in nodes]
    if None not in limits and (about.get("runtime") or 0) > max(limits):
        text = f"{name} allows {max(limits)} minutes, more are asked for"
        found.append((text, f"runtime: {max(limits)} at most, or another slurm_partition"))
    left = nodes
    for key, what, remedy in wanted:
        most = max(getattr(node, key) for node in nodes)
        left = [node for node in left if getattr(node, key) >= need[key]]
        if most < need[key]:
            found.append((f"{name} has {most or 'no'} {what}, {need[key]} asked for", remedy))
    if not left and not found:
        found.append((f"no node of {name} has all requested resources at once", "slurm_partition"))
    return found


def _names(text: str) -> list[str]:
    """Names of a list that commas or blanks part."""
    return text.replace(",", " ").split()


def _account(requests: Mapping[str, Mapping[str, Any]]) -> Finding:
    """Compare the requested accounts with those that the user has."""
    asked = {about.get("slurm_account") for about in requests.values()}
    # The executor takes the first of a list. Slurm keeps accounts in lower case.
    named = sorted({names[0] for name in asked if (names := _names(str(name or "")))})
    if not named:
        return Finding(OK, TOPIC, "account: cluster default (null in the profile)")
    user = os.environ.get("USER", "")
    code, said = (1, "no sacctmgr")
    if shutil.which("sacctmgr"):
        query = ("show", "assoc", f"user={user}", "format=account")
        code, said = _ask("sacctmgr", "-n", "-P", *query)
    if code or not said:
        text = f"account: {some(named)}, not checked: Slurm lists no accounts of yours here"
        return Finding(WARNING, TOPIC, text, "Ask your administrators if a job is refused.")
    yours = set(said.split())
    known = {name.lower() for name in yours}
    wrong = [name for name in named if name.lower() not in known]
    if wrong:
        text = f"account: {some(wrong)} is not among your accounts"
        return Finding(ERROR, TOPIC, text, f"Set slurm_account in {PROFILE}: {some(sorted(yours))}")
    return Finding(OK, TOPIC, f"account: {some(named)}")
