"""Trained models at work: systems behind one interface, latents, embeddings, predictions."""
