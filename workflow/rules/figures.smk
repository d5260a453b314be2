"""Figures: one rule for each, drawn from tables and arrays, never from a model."""

from ldae.figures.registry import FIGURES

EXAMPLES = rules.examples.output

# Name of the figure -> its input files, and the kind of its data file.
FIGURE_INPUTS = {
    "cohort_flow": (
        dict(flow=rules.ledger.output.flow, index=rules.volumes.output.index),
        "tsv",
    ),
    "cohort_qc": (
        dict(
            manifests=MANIFESTS["registration"],
            mask=config["preprocess"]["template"]["mask"],
        ),
        "tsv",
    ),
    "training_curves": (
        {
            stage: results(f"models/{stage}/history.tsv")
            for stage in ("autoencoder", "ldm", "ldae")
        },
        "tsv",
    ),
    "figure3_reconstruction": (dict(arrays=EXAMPLES.reconstruction), "npz"),
    "ddim_steps": (
        dict(
            table=rules.reconstruction.output.table,
            scans=rules.reconstruction.output.scans,
            controls=rules.reconstruction.output.controls,
        ),
        "tsv",
    ),
    "guidance": (dict(table=rules.guidance.output.differences), "tsv"),
    "solvers": (
        dict(
            table=rules.solvers.output.table,
            differences=rules.solvers.output.differences,
        ),
        "tsv",
    ),
    "figure4_variation": (dict(arrays=EXAMPLES.reconstruction), "npz"),
    "figure5_lda": (dict(projection=PROJECTION), "tsv"),
    "probes": (
        dict(
            table=rules.probes.output.table,
            **(
                dict(external=EXTERNAL_TABLES["probes_external"])
                if EXTERNAL_TABLES
                else {}
            ),
        ),
        "tsv",
    ),
    "targets": (
        dict(
            table=rules.targets.output.summary,
            calibration=rules.targets.output.calibration,
        ),
        "tsv",
    ),
    "figure6_progression": (dict(arrays=EXAMPLES.progression), "npz"),
    "figure7_manipulation": (dict(arrays=EXAMPLES.manipulation), "npz"),
    "manipulation_dose": (
        dict(
            table=rules.manipulation.output.table,
            trends=rules.manipulation.output.trends,
        ),
        "tsv",
    ),
    "figure8_interpolation": (
        dict(
            table=rules.interpolation.output.table,
            differences=rules.interpolation.output.differences,
            extrapolation=rules.interpolation.output.extrapolation,
        ),
        "tsv",
    ),
    "figure9_interpolation_example": (
        dict(arrays=rules.interpolation.output.example),
        "npz",
    ),
}
if PUBLISHED:
    del FIGURE_INPUTS["training_curves"]  # nothing was trained
if TRUTHS:
    FIGURE_INPUTS["truth"] = (
        dict(
            table=rules.truth.output.table, predictions=rules.truth.output.predictions
        ),
        "tsv",
    )
    FIGURE_INPUTS["counterfactual"] = (
        dict(
            table=rules.counterfactual.output.table,
            differences=rules.counterfactual.output.differences,
        ),
        "tsv",
    )
    FIGURE_INPUTS["counterfactual_example"] = (
        dict(arrays=rules.counterfactual.output.examples),
        "npz",
    )

if SALIENCY:
    FIGURE_INPUTS["saliency"] = (
        dict(arrays=rules.saliency.output.maps, regions=rules.saliency.output.regions),
        "npz",
    )
    FIGURE_INPUTS["saliency_checks"] = (
        dict(checks=rules.saliency.output.checks, **ATTENTION),
        "tsv",
    )

if SCANNER:
    FIGURE_INPUTS["scanner"] = (dict(table=rules.scanner.output.scanner), "tsv")
if NORMATIVE:
    FIGURE_INPUTS["normative"] = (
        dict(
            curves=rules.normative.output.curves,
            people=rules.normative.output.people,
            table=rules.normative.output.table,
        ),
        "tsv",
    )

if FINE_TUNING_CASES:
    FIGURE_INPUTS["fine_tuning"] = (dict(table=rules.fine_tuning.output.table), "tsv")

for figure, (inputs, data) in FIGURE_INPUTS.items():

    rule:
        name:
            figure if figure.startswith("figure") else f"figure_{figure}"
        input:
            **inputs,
        output:
            pdf=results(f"figures/{figure}.pdf"),
            png=report(
                results(f"figures/{figure}.png"),
                caption="../report/figure.rst",
                category="Figures",
            ),
            data=results(f"figures/{figure}.{data}"),
            caption=results(f"figures/{figure}.caption.txt"),
            result=results(f"figures/{figure}.result.txt"),
        log:
            logfile(f"figures/{figure}.log"),
        benchmark:
            timing(f"figures/{figure}.tsv")
        conda:
            "../../envs/ldae.yaml"
        resources:
            mem_mb=growing(4000),
            runtime=growing(30),
        params:
            figure=figure,
            about=FIGURES[figure].about,
            settings=figure_settings(),
            folders=dict(preproc=results("preproc")) if figure == "cohort_qc" else {},
            source=source("figures.registry:draw"),
        message:
            "Drawing {params.figure}"
        script:
            "../scripts/figure.py"


rule figures:
    input:
        expand(
            results("figures/{name}.{kind}"),
            name=FIGURE_INPUTS,
            kind=["pdf", "png", "caption.txt", "result.txt"],
        ),
