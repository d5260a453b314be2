"""Trackers of trainings: TensorBoard, Weights & Biases, MLflow (``training.tracker``)."""
