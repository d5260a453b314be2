"""Plan of a run: the jobs it would start, by a dry run of the workflow with the same arguments."""

import re
import subprocess
from dataclasses import dataclass, field

from ldae.preflight.report import ERROR, OK, Finding

TOPIC = "plan"
_ROW = re.compile(r"(\w+)\s+(\d+)")
# Rules that only name a stage: they run nothing.
TARGETS = {"all", "cohort", "preprocess", "evaluate", "figures", "resources", "total"}


@dataclass
class Plan:
    """Number of jobs by rule; ``fault``: the error because of which there is no plan."""

    jobs: dict[str, int] = field(default_factory=dict)
    fault: str | None = None


def start_dry_run(command: tuple[str, ...]) -> subprocess.Popen:
    """Start the dry run ``command``; it takes seconds, in which other checks can go on."""
    return subprocess.Popen(
        command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


def read_plan(process: subprocess.Popen) -> Plan:
    """Wait for the dry run and read its table of jobs."""
    output, _ = process.communicate()
    if process.returncode:
        return Plan(fault=_fault(output))
    table = output.partition("Job stats:")[2].partition("\n\n")[0]
    rows = (_ROW.fullmatch(line.strip()) for line in table.splitlines())
    jobs = {row[1]: int(row[2]) for row in rows if row and row[1] not in TARGETS}
    return Plan(jobs=jobs)


def describe(plan: Plan) -> list[Finding]:
    """Number of jobs, in all and of each rule, as one finding."""
    if plan.fault is not None:
        text = f"The jobs cannot be planned: {plan.fault}"
        return [Finding(ERROR, TOPIC, text, "Correct what is named here and above.")]
    if not plan.jobs:
        return [Finding(OK, TOPIC, "nothing is to be done: everything asked for is there")]
    total = f"{sum(plan.jobs.values()):,} jobs of {len(plan.jobs)} rules"
    several = {name: number for name, number in plan.jobs.items() if number > 1}
    most = sorted(several.items(), key=lambda item: (-item[1], item[0]))
    parts = [f"{name} {number:,}" for name, number in most]
    single = [name for name in plan.jobs if name not in several]
    if single:
        parts.append(f"one each of {', '.join(single)}")
    return [Finding(OK, TOPIC, f"{total}: {', '.join(parts)}")]


def _fault(output: str) -> str:
    """The message of a failed dry run, without its heading and traceback."""
    text = output.partition("Building DAG of jobs...")[2] or output
    text = re.split(r"\n(?:Traceback|Wildcards):", text)[0]
    lines = [line.strip() for line in text.splitlines()]
    said = [line for line in lines if line and not re.fullmatch(r"\w*(Error|Exception):?", line)]
    said = [line for line in said if not re.match(r"InputFunctionException in|Error:", line)]
    return " ".join(said)[-1500:] or "Snakemake says nothing."
