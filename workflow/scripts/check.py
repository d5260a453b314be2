"""Preflight report: all that would fail in a long run, before it starts."""

from pathlib import Path

from _adapter import job

with job(snakemake):
    from ldae.errors import require
    from ldae.preflight.checks import preflight
    from ldae.preflight.report import ERROR, summary, text, write
    from ldae.preflight.run_facts import Facts

    findings = preflight(Facts(root=Path(), **snakemake.params.facts))
    print(text(findings), flush=True)
    folder = snakemake.params.folder
    write(findings, folder)
    require(
        all(finding.level != ERROR for finding in findings),
        f"{summary(findings)}: see above, or {folder}/check.txt",
    )
