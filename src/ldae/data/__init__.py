"""Stores of volumes and latents, their embeddings, data sets and batches."""
