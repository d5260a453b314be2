"""The proof: what the runs of several seeds show, against the thresholds that were set before."""

from ldae.report.proof_thresholds import CARD
from ldae.report.proof_thresholds import FIGURES
from ldae.report.proof_thresholds import HISTORY
from ldae.report.proof_thresholds import INDEX
from ldae.report.proof_thresholds import TABLES as PROVEN

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
                    *(f"tables/{name}.tsv" for name in PROVEN),
                    INDEX,
                    CARD,
                    HISTORY,
                )
            ],
            [
                f"{RUNS[config['proof']['seeds'][0]]}/figures/{name}.png"
                for name in FIGURES
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
