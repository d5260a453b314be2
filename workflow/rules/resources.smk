"""Weights and templates: each an input of the rule that reads it, staged by one rule from a table.

`snakemake resources` is the only target that uses the network. Where a file comes from (the
configuration's `paths.mirrors`) is no param: another mirror is no reason to fetch a file again.
"""

from ldae.resources.table import load_resources
from ldae.resources.table import needed

TABLE = load_resources("config/resources.tsv")
STAGED = dict(zip(TABLE["path"], TABLE["name"]))


localrules:
    resource,
    resources,
    resources_list,


# update: a file that is there, such as one brought by hand, is not deleted before the job.
rule resource:
    output:
        update(f"{RESOURCES}/{{path}}"),
    log:
        f"{RESOURCES}/logs/{{path}}.log",
    wildcard_constraints:
        path="|".join(map(re.escape, STAGED)),
    conda:
        "../../envs/ldae.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=120,
    params:
        names=lambda wildcards: [STAGED[wildcards.path]],
        table="config/resources.tsv",
        folder=lambda wildcards, output: output[0].removesuffix(wildcards.path),
    message:
        "Staging {params.names[0]}"
    script:
        "../scripts/stage_resources.py"


# All that the configuration needs, files brought by hand checked as well, and where each is from.
rule resources:
    input:
        [f"{RESOURCES}/{TABLE.path[name]}" for name in needed(config, TABLE)],
    output:
        table=f"{RESOURCES}/staged.tsv",
    log:
        f"{RESOURCES}/logs/staged.log",
    conda:
        "../../envs/ldae.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=30,
    params:
        names=needed(config, TABLE),
        table="config/resources.tsv",
        folder=lambda wildcards, output: above(output[0], 1),
    message:
        "Checking the staged files"
    script:
        "../scripts/stage_resources.py"


# Always runs: what is missing is no file of the workflow.
rule resources_list:
    log:
        f"{RESOURCES}/logs/list.log",
    conda:
        "../../envs/ldae.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=30,
    params:
        names=needed(config, TABLE),
        table="config/resources.tsv",
        folder=RESOURCES,
    message:
        "Listing what is to be downloaded elsewhere"
    script:
        "../scripts/resources_list.py"
