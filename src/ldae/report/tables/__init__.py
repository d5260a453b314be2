"""Printed tables of the report, and their forms in TSV, Markdown and LaTeX."""
