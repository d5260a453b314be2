"""Saliency: where in a scan the linear read-out of y_sem finds its diagnosis, and checks of it."""
