"""Trained models on disk: storage, loading, model card, list of training scans."""
