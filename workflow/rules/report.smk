"""The report: one HTML file that opens offline."""


rule report:
    input:
        rules.figures.input,
        rules.evaluate.input,
        rules.cohort.input,
    output:
        html=results("report/report.html"),
    log:
        logfile("report.log"),
    benchmark:
        timing("report.tsv")
    conda:
        "../../envs/ldae.yaml"
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        results=lambda wildcards, output: above(output.html, 2),
        config=config,
        source=source("report"),
    message:
        "Writing the report"
    script:
        "../scripts/report.py"
