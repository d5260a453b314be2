"""Linear probes of frozen embeddings: data, models, targets and scores."""
