"""Report of a run: tables, figures, methods text and job usage in one HTML file.

:func:`ldae.report.build.build` writes it. Nothing is imported here, since the rules import
:mod:`ldae.report.proof_thresholds` in an environment without PyTorch and matplotlib.
"""
