"""Files of the targets of the probes (rules/probes.smk)."""


def of_target(target, part):
    """A file of a target's own folder."""
    return results(f"evaluation/targets/{target}/{part}.tsv")


def target_files(target):
    """Inputs of a target's job beside those of all: its table, and the dates of scans."""
    found = {}
    if target.table:
        planted = (
            bool(PLANTED) and target.table == PLANTED["labels"]
        )  # made by the workflow
        if not planted and not Path(target.table).is_file():
            raise WorkflowError(
                f"evaluation.targets.{target.name}.table: the file '{target.table}' does not "
                "exist. Set it to a TSV or CSV with one row a subject or visit (docs/targets.md)."
            )
        found["table"] = target.table
    if target.study_table:
        if not FROM_DOWNLOAD:
            raise WorkflowError(
                f"evaluation.targets.{target.name}.study_table: study tables are those of ADNI's "
                "download (paths.tables), and this cohort is another. Set table instead."
            )
        found["study_tables"] = download("tables")
    if target.date and FROM_DOWNLOAD:
        found["dates"] = rules.study_tables.output.tables
    return found
