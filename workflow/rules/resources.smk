"""Weights and templates: each an input of the rule that reads it, staged by one rule from a table."""

from ldae.resources import load_resources, needed

TABLE = load_resources("config/resources.tsv")
STAGED = dict(zip(TABLE["path"], TABLE["name"]))


localrules:
    resource,


rule resource:
    output:
        f"{RESOURCES}/{{path}}",
    log:
        f"{RESOURCES}/logs/{{path}}.log",
    wildcard_constraints:
        path="|".join(map(re.escape, STAGED)),
    conda:
        "../../envs/ldae.yaml"
    resources:
        mem_mb=2000,
        runtime=120,
    params:
        name=lambda wildcards: STAGED[wildcards.path],
        table="config/resources.tsv",
        folder=lambda wildcards, output: output[0].removesuffix(wildcards.path),
    message:
        "Staging {params.name}"
    script:
        "../scripts/resource.py"


rule resources:
    input:
        [f"{RESOURCES}/{TABLE.path[name]}" for name in needed(config, TABLE)],
