"""Raw ADNI download to BIDS, by Clinica's own converter, then a check of every expected scan."""


rule check_download:
    input:
        images=download("images"),
        tables=download("tables"),
    output:
        subjects=results("cohort/subjects.txt"),
    log:
        logfile("check_download.log"),
    benchmark:
        timing("check_download.tsv")
    conda:
        "../../envs/ldae.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        source=source("cohort/convert.py"),
    message:
        "Checking the download: image folders, study tables and their columns"
    script:
        "../scripts/check_download.py"


rule clinica_convert:
    input:
        images=download("images"),
        tables=download("tables"),
        subjects=rules.check_download.output.subjects,
    output:
        bids=temp(directory(results("bids_clinica"))),
    log:
        logfile("clinica_convert.log"),
    benchmark:
        timing("clinica_convert.tsv")
    conda:
        "../../envs/clinica.yaml"
    threads: config["cohort"]["convert_jobs"]
    resources:
        mem_mb=lambda wildcards, threads: 2000 * threads,
        runtime=1440,
    params:
        path=clinica_path,
    message:
        "Converting T1-weighted scans to BIDS with Clinica"
    shell:
        # Clinica's exit code says little: it is 0 for a corrupt series, so the next rule checks all.
        # It refuses more processes than there are processors.
        'export PATH="$(realpath {params.path:q}):$PATH" CLINICA_LOGGING_DIR=$(dirname {log:q}); '
        "processes=$(( {threads} < $(nproc) ? {threads} : $(nproc) )); "
        "clinica convert adni-to-bids {input.images:q} {input.tables:q} {output.bids:q} "
        "-m T1 -np $processes -sl {input.subjects:q} > {log:q} 2>&1"


rule bids:
    input:
        bids=rules.clinica_convert.output.bids,
        images=download("images"),
        tables=download("tables"),
    output:
        bids=directory(results("bids")),
        conversion=results("cohort/conversion.tsv"),
        download=results("cohort/download.json"),
    log:
        logfile("bids.log"),
    benchmark:
        timing("bids.tsv")
    conda:
        "../../envs/ldae.yaml"
    threads: config["cohort"]["convert_jobs"]
    resources:
        mem_mb=4000,
        runtime=240,
    params:
        max_failed_fraction=config["cohort"]["max_failed_fraction"],
        source=source("cohort/convert.py", "cohort/ledger.py"),
    message:
        "Checking the conversion scan by scan"
    script:
        "../scripts/bids.py"
