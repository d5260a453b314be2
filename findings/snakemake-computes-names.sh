#!/usr/bin/env bash
# Snakemake 9.27.1: names of a cluster given as resources on the command line or in a profile are
# computed as Python if they can be.
#
# An account called 2024-1 becomes the number 2023, without a word, and jobs are submitted with
# "-A 2023". A partition called all becomes Python's function of that name; a rule that asks for it
# by --set-resources ends in "Resource must be evaluated within the context of a rule", which names
# neither key nor value. Project accounts made of a year and a number, and a partition "all", are
# usual on clusters. Names that are no Python, such as "gpu,gpu_long" or "brain-lab", pass as they
# are, so that the same profile works on one cluster and not on the next.
#
# Two kinds of quotation marks keep a name: slurm_account: "'2024-1'".
#
# Seen on 2026-11-29:
#   --set-resources all:slurm_account=2024-1    slurm_account=2023
#   --set-resources all:slurm_account='2024-1'  slurm_account=2024-1
#   --set-resources all:slurm_partition=all     ValueError
#
# Fails if one of the three comes out differently.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/python" -m pip install -q "snakemake==9.27.1"
cd "$work"
cat >Snakefile <<'SNAKEFILE'
rule all:
    output: "done"
    resources: slurm_account="lab"
    shell: "touch {output}"
SNAKEFILE
said() {
    rm -f done
    "$work/env/bin/snakemake" --cores 1 --set-resources "all:$1" 2>&1 || true
}
expect() {
    if said "$1" | grep -q -- "$2"; then
        echo "--set-resources all:$1    $2"
    else
        echo "--set-resources all:$1    not $2:" && said "$1"
        exit 1
    fi
}
expect "slurm_account=2024-1" "slurm_account=2023"
expect "slurm_account='2024-1'" "slurm_account=2024-1"
expect "slurm_partition=all" "ValueError: Resource must be evaluated"
echo "as described"
