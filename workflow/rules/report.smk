"""Report, model card, application bundle, sample of the package, and the page of the proof."""


rule application:
    input:
        autoencoder=results("models/autoencoder/model.json"),
        ldm=results("models/ldm/model.json"),
        ldae=results("models/ldae/model.json"),
        classifier=results("evaluation/classifier.npz"),
        age_regressor=results("evaluation/age_regressor.npz"),
        probes=results("tables/probes.tsv"),
        embeddings=results("embeddings/ldae.npz"),
        volumes=multiext(results("cache/volumes/"), "store.json", "index.tsv"),
        template=config["preprocess"]["template"]["image"],
        mask=config["preprocess"]["template"]["mask"],
    output:
        card=results("models/application/application.json"),
        classifier=results("models/application/classifier.npz"),
        age_regressor=results("models/application/age_regressor.npz"),
        template=results("models/application/template.nii.gz"),
        mask=results("models/application/template_mask.nii.gz"),
        training=results("models/application/training.npz"),
    log:
        logfile("application.log"),
    benchmark:
        timing("application.tsv")
    conda:
        "../../envs/ldae.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        settings=dict(
            preprocess={
                key: value
                for key, value in config["preprocess"].items()
                if key != "shards"
            },
            volumes=config["volumes"],
            guidance=config["evaluation"]["guidance"],
            ddim_steps=config["evaluation"]["manipulation"]["ddim_steps"],
            solver=config["evaluation"]["manipulation"]["solver"],
            mode=config["evaluation"]["manipulation"]["mode"],
            alpha=config["evaluation"]["manipulation"]["alpha"],
            synthetic=only_synthetic_brains(config),
        ),
        source=source(
            "application.bundle:write_bundle",
            "application.bundle:performance",
            "application.training_codes:TrainingCodes",
        ),
    message:
        "Bundling probes, template and settings for the command line"
    script:
        "../scripts/application.py"


if "sample" in config:
    CONFIGURATIONS = [
        os.path.relpath(path, PROJECT) for path in workflow.config_settings.configfiles
    ]

    rule sample:
        input:
            [results(f"models/{stage}/model.json") for stage in STAGES],
            rules.application.output,
            rules.normative.output.curves if NORMATIVE else [],
        output:
            directory(config["sample"]["out"]),
        log:
            logfile("sample.log"),
        conda:
            "../../envs/ldae.yaml"
        resources:
            mem_mb=growing(4000),
            runtime=growing(20),
        params:
            models=lambda wildcards, input: parent_folder(input[0], 2),
            settings={
                key: config["sample"][key] for key in ("seed", "subject", "spacing")
            },
            configuration=config,
            command=f"snakemake --profile demo --configfile {' '.join(CONFIGURATIONS)} -- sample",
            source=source("application.sample_packing:write_sample"),
        message:
            "Packing the sample of the package"
        script:
            "../scripts/sample.py"


rule model_card:
    input:
        models=expand(
            results("models/{stage}/model.json"), stage=("autoencoder", "ldm", "ldae")
        ),
        index=results("cache/volumes/index.tsv"),
        reconstruction=results("tables/reconstruction.tsv"),
        probes=results("tables/probes.tsv"),
    output:
        card=results("models/MODEL_CARD.md"),
    log:
        logfile("model_card.log"),
    benchmark:
        timing("model_card.tsv")
    conda:
        "../../envs/ldae.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        results=lambda wildcards, output: parent_folder(output.card, 2),
        config=config,
        source=source("report.model_card:write_model_card"),
    message:
        "Writing the model card"
    script:
        "../scripts/model_card.py"


rule report:
    input:
        rules.figures.input,
        rules.evaluate.input,
        rules.cohort.input,
        rules.qc.output.measures,
        rules.study_tables.output.provenance if FROM_DOWNLOAD else [],
        pages=report_pages,
    output:
        html=results("report/report.html"),
        summary=results("report/summary.md"),
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
        results=lambda wildcards, output: parent_folder(output.html, 2),
        tables=lambda wildcards, input: input_names(input, "tables", ".tsv"),
        figures=lambda wildcards, input: input_names(input, "figures", ".png"),
        asked=job_requests,
        pages=lambda wildcards, input: list(input.pages),
        config=config,
        source=source("report.build:build"),
    message:
        "Writing the report"
    script:
        "../scripts/report.py"


from ldae.report.proof_thresholds import CARD
from ldae.report.proof_thresholds import SHOWN_FIGURES
from ldae.report.proof_thresholds import HISTORY
from ldae.report.proof_thresholds import RECONSTRUCTIONS
from ldae.report.proof_thresholds import INDEX
from ldae.report.proof_thresholds import TABLES as PROOF_TABLES

if "proof" in config:
    RUNS = {
        seed: config["proof"]["results"].format(seed=seed)
        for seed in config["proof"]["seeds"]
    }

    rule proof:
        input:
            [
                f"{run}/{path}"
                for run in RUNS.values()
                for path in (
                    *(f"tables/{name}.tsv" for name in PROOF_TABLES),
                    INDEX,
                    CARD,
                    HISTORY,
                    *(
                        RECONSTRUCTIONS.values()
                        if "ldae_slices" in config["baselines"]
                        else ()
                    ),
                )
            ],
            [
                f"{RUNS[config['proof']['seeds'][0]]}/figures/{name}.png"
                for name in SHOWN_FIGURES
            ],
            configuration=config["proof"]["configuration"],
        output:
            page=config["proof"]["page"],
            images=directory(config["proof"]["images"]),
        log:
            logfile("proof.log"),
        conda:
            "../../envs/ldae.yaml"
        resources:
            mem_mb=growing(2000),
            runtime=10,
        params:
            runs=RUNS,
            command="make proof",
            alpha=config["evaluation"]["manipulation"]["alpha"],
            source=source("report.proof_page:build_proof"),
        message:
            "Writing the page of the proof"
        script:
            "../scripts/proof.py"
