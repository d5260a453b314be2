"""Weights and templates: each an input of the rule that reads it, staged by one rule from a table."""

import re

from ldae.resources import read_resources

STAGED = {row["path"]: row["name"] for row in read_resources("config/resources.tsv")}


localrules:
    resource,


rule resource:
    output:
        f"{RESOURCES}/{{path}}",
    wildcard_constraints:
        path="|".join(map(re.escape, STAGED)),
    log:
        f"{RESOURCES}/logs/{{path}}.log",
    retries: 0
    resources:
        mem_mb=2000,
        runtime=120,
    params:
        name=lambda wildcards: STAGED[wildcards.path],
        table="config/resources.tsv",
    message:
        "Staging {params.name}"
    conda:
        "../../envs/ldae.yaml"
    script:
        "../scripts/resource.py"


rule resources:
    input:
        list(config["preprocess"]["template"][key] for key in ("image", "mask")),
        brain_extraction_weights(None),
        autoencoder_weights(None),
        encoder_weights(None),
        config["evaluation"]["lpips"]["weights"],
