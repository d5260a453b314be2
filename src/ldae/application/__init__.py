"""The trained models in a user's hands: `python -m ldae`, for scans outside the workflow."""
