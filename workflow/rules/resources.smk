"""Resources: weights and templates, staged by one rule from the table config/resources.tsv.

Each file is an input of the rule that reads it. `snakemake resources` is the only target that uses
the network. `paths.mirrors` of the configuration is not a param: a file is not fetched again for
another mirror.
"""

from ldae.resources.table import load_resources
from ldae.resources.table import needed

TABLE = load_resources(of_project("config/resources.tsv"))
RESOURCE_NAMES = dict(zip(TABLE["path"], TABLE["name"]))


localrules:
    resource,
    resources,
    resources_list,


# update: an existing file, such as one copied by hand, is not deleted before the job.
rule resource:
    output:
        update(f"{RESOURCES}/{{path}}"),
    log:
        f"{RESOURCES}/logs/{{path}}.log",
    wildcard_constraints:
        path="|".join(map(re.escape, RESOURCE_NAMES)),
    conda:
        "../../envs/ldae.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=120,
    params:
        names=lambda wildcards: [RESOURCE_NAMES[wildcards.path]],
        table=of_project("config/resources.tsv"),
        folder=lambda wildcards, output: output[0].removesuffix(wildcards.path),
    message:
        "Staging {params.names[0]}"
    script:
        "../scripts/stage_resources.py"


# All files that the configuration needs. Those copied by hand are checked too; staged.tsv lists the
# source of each.
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
        table=of_project("config/resources.tsv"),
        folder=lambda wildcards, output: parent_folder(output[0], 1),
    message:
        "Checking the staged files"
    script:
        "../scripts/stage_resources.py"


# Always runs: it has no output that Snakemake tracks.
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
        table=of_project("config/resources.tsv"),
        folder=RESOURCES,
    message:
        "Listing the files to download elsewhere"
    script:
        "../scripts/resources_list.py"
