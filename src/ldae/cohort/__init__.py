"""Cohort: scan table, inclusion, splits by subject, ledger of all images, flow, Table 1."""
