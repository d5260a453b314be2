"""Diffusion: noise schedule, DDIM in both directions, interpolation of codes; no networks."""
