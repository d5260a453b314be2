"""The report: tables, figures, methods and resources of a run in one HTML file.

:func:`ldae.report.build.build` writes it. Nothing is imported here: what a run took is read
(:mod:`ldae.orchestration.job_usage`) where there is nothing to draw with.
"""
