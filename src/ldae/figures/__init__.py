"""Figures: drawn from tables and arrays alone, byte for byte the same whenever these are the same.

``draw(name, inputs, outputs, settings)`` draws any of ``FIGURES``; one module a figure.
"""

from ldae.figures.registry import FIGURES, draw, output_names, required_inputs

__all__ = ["FIGURES", "draw", "output_names", "required_inputs"]
