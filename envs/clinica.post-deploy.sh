#!/usr/bin/env bash
# Adds Clinica to the environment of clinica.yaml; see there for the reason.
set -euo pipefail
python -m pip install --no-deps clinica==0.12.0 clinicaio==1.0.0
