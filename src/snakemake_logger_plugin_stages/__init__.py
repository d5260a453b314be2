"""Logger ``stages`` of Snakemake: its events become the display of a run by stages.

    snakemake --profile slurm --logger stages

Snakemake finds a logger by the name of this package. What is shown, and how, is decided in
:mod:`ldae.orchestration.run_display`. Every call of Snakemake imports this module, also from a copy
of the project whose source is another one; so the library is imported only where the logger is
used.
"""

import logging
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Optional

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.settings import LogHandlerSettingsBase

if TYPE_CHECKING:
    from ldae.orchestration.run_progress import Job

OF_JOB = "RuleException"  # what Snakemake raises where a job's command fails
CANCELLED = "Terminating processes on user request"
NOTHING = "Nothing to be done"


@dataclass
class LogHandlerSettings(LogHandlerSettingsBase):
    """Options of the command line, ``--logger-stages-NAME``."""

    times: Optional[str] = field(  # noqa: UP045 (Snakemake reads the type so)
        default=None,
        metadata={
            "help": "Table of recorded seconds by rule, such as profiles/demo/times.tsv. "
            "Default: none; only times measured in this results folder are used."
        },
    )


class LogHandler(LogHandlerBase):
    """Receiver of Snakemake's log records."""

    writes_to_stream = True
    writes_to_file = False
    has_filter = True
    has_formatter = True
    needs_rulegraph = True

    def __post_init__(self) -> None:
        from ldae.orchestration.run_display import RunDisplay
        from ldae.orchestration.terminal import Terminal

        times = self.settings.times if self.settings else None
        self.display = RunDisplay(times, Terminal(1 if self.common_settings.stdout else 2))

    def emit(self, record: logging.LogRecord) -> None:
        """Tell the display of an event."""
        try:
            self._tell(record)
        except Exception:
            self.handleError(record)

    def leave_out(self, rules: Collection[str]) -> None:
        """Tell the display of the rules without benchmark; Snakemake has no event for it."""
        self.display.leave_out(rules)

    def close(self) -> None:
        """End the display."""
        self.display.close()
        super().close()

    def _tell(self, record: logging.LogRecord) -> None:
        display, event = self.display, getattr(record, "event", None)
        if event == LogEvent.WORKFLOW_STARTED:
            display.begin(_logfile(record.name))
        elif event == LogEvent.RULEGRAPH:
            links = record.rulegraph["links"]
            display.progress.order((link["sourcerule"], link["targetrule"]) for link in links)
        elif event == LogEvent.RESOURCES_INFO:
            self._take_cores(record)
        elif event == LogEvent.RUN_INFO:
            counts = {rule: jobs for rule, jobs in record.stats.items() if rule != "total"}
            if not display.planned:  # Snakemake counts again at the end of a dry run
                display.plan(counts, dry=self.common_settings.dryrun)
        elif self.common_settings.dryrun and event != LogEvent.ERROR:
            pass
        elif event == LogEvent.JOB_INFO:
            display.start(record.jobid, _job(record), record.benchmark)
        elif event == LogEvent.JOB_FINISHED:
            display.finish(record.job_id)
        elif event == LogEvent.JOB_ERROR:
            display.fail(record.jobid, record.rule_name, record.log, record.rule_msg or "")
        elif event == LogEvent.ERROR and record.exception == "KeyboardInterrupt":
            display.stop()
        elif event == LogEvent.ERROR:
            display.report_error(record.getMessage(), record.exception == OF_JOB)
        elif record.getMessage().startswith(CANCELLED):
            display.stop()
        elif record.getMessage().startswith(NOTHING):
            display.say(record.getMessage())

    def _take_cores(self, record: logging.LogRecord) -> None:
        """The number of threads at a time, or of jobs on a cluster."""
        progress = self.display.progress
        if getattr(record, "cores", None):
            progress.cores = record.cores
        elif getattr(record, "nodes", None):
            progress.cores, progress.shared = record.nodes, False


def _job(record: logging.LogRecord) -> "Job":
    from ldae.orchestration.run_progress import Job

    return Job(
        rule=record.rule_name,
        what=record.rule_msg or record.rule_name,
        threads=record.threads,
        logs=tuple(record.log),
        wildcards=dict(record.wildcards),
        began=time.time(),
    )


def _logfile(logger: str) -> str | None:
    """The file that a logger writes to; None if it writes to none, as in a dry run."""
    handlers = logging.getLogger(logger).handlers
    files = [one.baseFilename for one in handlers if isinstance(one, logging.FileHandler)]
    return files[0] if files else None
