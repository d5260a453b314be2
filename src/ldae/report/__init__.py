"""The report: tables, figures, methods and resources of a run in one HTML file."""

from ldae.report.build import build

__all__ = ["build"]
