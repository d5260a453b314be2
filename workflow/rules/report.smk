"""The report: one HTML file that opens offline, the methods text, what each rule took."""


rule report:
    input:
        rules.figures.input,
        rules.evaluate.input,
        rules.cohort.input,
        rules.qc.output.measures,
    output:
        html=results("report/report.html"),
        methods=results("report/methods.md"),
        references=results("report/references.bib"),
        resources=results("tables/resources.tsv"),
    log:
        logfile("report.log"),
    benchmark:
        timing("report.tsv")
    conda:
        "../../envs/ldae.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
    params:
        results=lambda wildcards, output: above(output.html, 2),
        tables=lambda wildcards, input: made(input, "tables", ".tsv"),
        figures=lambda wildcards, input: made(input, "figures", ".png"),
        asked=lambda wildcards: asked(),
        config=config,
        source=source("report.build:build"),
    message:
        "Writing the report"
    script:
        "../scripts/report.py"
