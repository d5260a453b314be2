#!/usr/bin/env bash
# Snakemake 9.27.1: a rule of a module cannot be changed under a prefix if it names another rule's
# output.
#
# "use rule * from other as other_*" followed by "use rule b from other as other_b with: ..." is the
# documented way to change one rule of an imported workflow. Where b's input is rules.a.output, the
# plan ends in UnknownRuleException, "There is no rule named a.", though other_a is there and
# "use rule *" alone works. The second statement reads the module again with b alone, and a's name in
# it has no prefix. Without a prefix both statements work together. In a large workflow, whose rules
# name each other throughout, nearly no rule can be changed under a prefix; the message names neither
# the statement nor the rule that is at fault.
#
# Seen on 2026-11-29:
#   use rule * under a prefix                     2 jobs planned
#   ... and rule b changed under the prefix       UnknownRuleException
#   ... and rule b changed, both without prefix   2 jobs planned, with the new message
#
# Fails if one of the three comes out differently.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/python" -m pip install -q "snakemake==9.27.1"
cd "$work"
cat >inner.smk <<'SNAKEFILE'
rule a:
    output: "a.txt"
    shell: "touch {output}"
rule b:
    input: rules.a.output
    output: "b.txt"
    message: "as it was"
    shell: "touch {output}"
SNAKEFILE
planned() {
    printf 'module other:\n    snakefile: "inner.smk"\n%b' "$1" >Snakefile
    "$work/env/bin/snakemake" -n --cores 1 b.txt 2>&1 || true
}
expect() {
    if planned "$2" | grep -q -- "$3"; then
        echo "$1: $3"
    else
        echo "$1: not $3:" && planned "$2"
        exit 1
    fi
}
change='with:\n    message: "changed"\n'
expect "prefix" 'use rule * from other as other_*\n' "^total  *2"
expect "prefix, b changed" \
    "use rule * from other as other_*\nuse rule b from other as other_b $change" \
    "There is no rule named a"
expect "no prefix, b changed" \
    "use rule * from other\nuse rule b from other $change" "changed"
echo "as described"
