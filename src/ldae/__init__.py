"""Latent Diffusion Autoencoders for brain MRI: the library behind the workflow.

The library knows nothing of Snakemake. Importing it loads no heavy package.
"""

__version__ = "0.1.0"
