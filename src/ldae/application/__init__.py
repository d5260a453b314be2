"""Application of the trained models to scans outside the workflow."""
