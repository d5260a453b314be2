"""Command line `ldae`: the models applied to your scans, and the workflow's tools."""
