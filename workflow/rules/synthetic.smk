"""A synthetic ADNI download with known truth, where the configuration has a section for it."""

if "synthetic" in config:

    rule synthetic:
        output:
            images=directory(config["paths"]["images"]),
            tables=directory(config["paths"]["tables"]),
            truth=f"{config['synthetic']['out']}/truth.tsv",
        log:
            logfile("synthetic.log"),
        benchmark:
            timing("synthetic.tsv")
        conda:
            "../../envs/ldae.yaml"
        threads: config["threads"]
        resources:
            mem_mb=growing(8000),
            runtime=growing(60),
        params:
            **{key: value for key, value in config["synthetic"].items() if key != "out"},
            out=lambda wildcards, output: above(output.truth, 1),
            source=source("synthetic"),
        message:
            "Making a synthetic ADNI download of {params.subjects} subjects"
        script:
            "../scripts/synthetic.py"
