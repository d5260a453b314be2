"""Full run: results of one small run, and what a second run repeats."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from helpers.models import load_ldae
from ldae.evaluation.metrics.image import brain_mask
from ldae.ssim import ssim

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.workflow, pytest.mark.slow]


def test_ledger_lists_every_image_of_the_download(finished):
    images = finished.path / "raw/demo/images"
    on_disk = {folder.name for folder in images.glob("*/*/*/I*")}
    ledger = pd.read_csv(finished.path / "results/cohort/ledger.tsv", sep="\t", dtype=str)
    assert {f"I{name.lstrip('I')}" for name in ledger["image_id"]} >= on_disk
    assert set(ledger["status"]) == {"used", "excluded"}
    assert ledger.loc[ledger["status"] == "excluded", "reason"].str.len().min() > 0


@pytest.mark.parametrize("folder", ["bids", "preproc"])
def test_bids_validator_finds_no_error(finished, folder, tmp_path):
    validator = Path(sys.executable).with_name("bids-validator-deno")
    done = subprocess.run(
        [validator, "--json", finished.path / "results" / folder],
        env=os.environ | {"DENO_DIR": str(tmp_path)}, check=False, stdout=subprocess.PIPE,
    )  # fmt: skip
    report = json.loads(done.stdout)
    found = [issue for issue in report["issues"]["issues"] if issue["severity"] == "error"]
    assert found == []
    subjects = list((finished.path / "results" / folder).glob("sub-*"))
    assert len(report["summary"]["subjects"]) == len(subjects) > 0  # it has read them


def test_splits_share_no_subject(finished):
    index = pd.read_csv(finished.path / "results/cache/volumes/index.tsv", sep="\t")
    assert (index.groupby("participant_id")["split"].nunique() == 1).all()
    assert set(index["split"]) == {"train", "val", "test"}


def test_second_run_does_nothing(finished):
    assert "Nothing to be done" in finished.snakemake().stdout


@pytest.mark.parametrize("profile", ["demo", "slurm"])
def test_large_unchanged_table_reruns_nothing(profile, tmp_path):
    """The profile raises Snakemake's size limit of checksums.

    The default, 1 MB, is below the tables of a real cohort. Only this setting of the profile is
    used, because its executor needs a cluster.
    """
    settings = yaml.safe_load((ROOT / "profiles" / profile / "config.yaml").read_text())
    limit = settings["max-checksum-file-size"]
    (tmp_path / "Snakefile").write_text(
        "rule use:\n    input: 'table.tsv'\n    output: 'used'\n    shell: 'touch {output}'\n"
        "rule make:\n    input: 'source'\n    output: 'table.tsv'\n"
        "    shell: 'head -c 2000000 /dev/zero > {output}'\n"
    )

    def snakemake(*arguments):
        command = [sys.executable, "-m", "snakemake", "--cores", "1", *arguments]
        return subprocess.run(
            command, cwd=tmp_path, check=True, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ).stdout  # fmt: skip

    (tmp_path / "source").write_text("1")
    allow = ("--max-checksum-file-size", str(limit))
    snakemake(*allow)
    later = (tmp_path / "used").stat().st_mtime + 100
    os.utime(tmp_path / "source", (later - 50, later - 50))
    snakemake("make", *allow)
    os.utime(tmp_path / "table.tsv", (later, later))
    assert "Nothing to be done" in snakemake("-n", *allow)
    assert "Nothing to be done" not in snakemake("-n")


def test_deleted_figure_is_redrawn_with_the_same_bytes(finished):
    figure = finished.path / "results/figures/figure5_lda.pdf"
    before = hashlib.sha256(figure.read_bytes()).hexdigest()
    figure.unlink()
    assert finished.planned("figures") == {"figure5_lda"}
    assert finished.planned() == {"figure5_lda", "report"}
    finished.snakemake()
    assert hashlib.sha256(figure.read_bytes()).hexdigest() == before


def test_baselines_not_configured_are_not_planned(finished):
    text = (finished.path / "config/golden.yaml").read_text()
    (finished.path / "none.yaml").write_text(f"{text}\nbaselines: []\n")
    with_all = finished.planned("--forceall")
    without = finished.planned("--forceall", config="none.yaml")
    assert with_all - without == {
        *("dae", "embeddings_dae", "reconstruction_dae", "inference_dae"),
        *("supervised_diagnosis", "supervised_predictions_diagnosis"),
        *("supervised_age", "supervised_predictions_age"),
    }


def test_changing_ddim_steps_reruns_evaluation_only(finished):
    config = finished.path / "steps.yaml"
    config.write_text((finished.path / "config/golden.yaml").read_text())
    text = config.read_text().replace("ddim_steps: [4, 10]", "ddim_steps: [4, 8]")
    config.write_text(text)
    planned = finished.planned(config="steps.yaml")
    assert {"reconstruction", "examples", "figure_ddim_steps", "report"} <= planned
    assert not planned & {
        "volumes",
        "autoencoder",
        "latents",
        "ldm",
        "ldae",
        "embeddings",
        "probe_diagnosis",
    }


def test_code_edit_reruns_its_stage_and_a_comment_nothing(finished):
    module = finished.path / "src/ldae/evaluation/probes/evaluate.py"
    original = module.read_text()
    module.write_text(original + "\n# edited\n")
    assert finished.planned() == set()
    try:
        module.write_text(
            original.replace("\ndef evaluate_target", "\n@staticmethod\ndef evaluate_target")
        )
        planned = finished.planned()
    finally:
        module.write_text(original)
    assert {"probe_diagnosis", "probes"} <= planned
    assert not planned & {"autoencoder", "ldm", "ldae", "reconstruction", "registration"}
    assert finished.planned() == set()


def test_encoded_z_t_decodes_to_the_autoencoder_image(finished):
    system = load_ldae(finished.path / "results/models", {"guidance": "c_t"})
    store = system.volume_store(finished.path / "results/cache/volumes")
    x = store.volumes(store.rows("test")[:2])
    z_0, y_sem = system.encode_z(x), system.y_sem(x)
    z_T = system.encode_zT(z_0, y_sem, 100)
    compressed, decoded = system.image(z_0), system.image(system.decode(z_T, y_sem, 100))
    assert float(ssim(compressed, decoded, brain_mask(compressed))[0].min()) >= 0.99
