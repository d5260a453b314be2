"""What the proof's page is made of, of each run; imported where there is nothing to draw with."""

TABLES = (
    "probes",
    "probes_differences",
    "truth",
    "reconstruction_controls",
    "reconstruction_volumes",
    "manipulation_trends",
    "counterfactual_differences",
    "interpolation",
    "interpolation_differences",
    "resources",
)
INDEX, CARD = "cache/volumes/index.tsv", "models/ldae/model.json"
HISTORY = "models/ldae/history.tsv"
# Figures shown, of the first seed: name and heading.
FIGURES = {
    "probes": "Linear probes",
    "truth": "Against the known truth",
    "training_curves": "Training",
    "guidance": "What guidance by y_sem does, by timestep",
    "figure3_reconstruction": "Reconstruction",
    "manipulation_dose": "Manipulation by strength",
    "counterfactual": "Against the true counterfactual",
    "counterfactual_example": "A true counterfactual beside the manipulated scan",
    "figure8_interpolation": "Interpolated visits",
}
