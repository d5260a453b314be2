"""Latent Diffusion Autoencoders for brain MRI: the library behind the workflow.

The code that depends on the workflow engine is in :mod:`ldae.orchestration`; besides, the preflight
check reads the engine's dry run. Importing the library loads no heavy package.
"""

__version__ = "0.1.0"
