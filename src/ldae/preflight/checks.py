"""Preflight: all checks, one after the other, each with all its findings."""

from ldae.preflight.cost import estimate
from ldae.preflight.environment import check_environment
from ldae.preflight.expected_scans import expected_scans
from ldae.preflight.paths import check_sources, check_tables, check_written
from ldae.preflight.plan import describe, read_plan, start_dry_run
from ldae.preflight.report import ERROR, Finding
from ldae.preflight.resources import check_resources
from ldae.preflight.run_facts import Facts
from ldae.preflight.scans import count
from ldae.preflight.slurm import check_slurm
from ldae.preflight.space import check_space
from ldae.preflight.studies import check_studies


def preflight(facts: Facts) -> list[Finding]:
    """Findings about a run that is about to start, grouped by topic."""
    planning = start_dry_run(facts.command)
    try:
        found, folders = check_sources(facts)
        found += check_written(facts)
        found += check_studies(facts)
        tables = check_tables(facts)
        expected, more = None, []
        if folders and folders.subjects and tables and ERROR not in {one.level for one in tables}:
            to_download = facts.results / "check/images_to_download.tsv"
            expected, more = expected_scans(facts, folders, to_download)
        counts, about = count(facts, folders, expected)
        found += [*about, *more, *tables]
        found += [*check_resources(facts), *check_environment(facts), *check_slurm(facts)]
    except BaseException:
        planning.kill()
        raise
    finally:
        plan = read_plan(planning)
    found += [*describe(plan), *check_space(facts, plan, counts)]
    return [*found, *estimate(facts, plan, counts)]
