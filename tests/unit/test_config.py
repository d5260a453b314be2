"""Configuration: the shipped files are valid; wrong ones are refused in one clear sentence."""

import copy
from pathlib import Path

import pytest
import yaml

from ldae.config import (
    check_config,
    cohort_roles,
    external_cohorts,
    only_synthetic_brains,
)
from ldae.config_checks import check_baselines, check_start_noise
from ldae.errors import UserError

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "workflow/schemas/config.schema.yaml"
PAPER = yaml.safe_load((ROOT / "config/config.yaml").read_text())
ENCODER = {"kind": "torchscript", "path": "net.pt", "normalise": "none",
           "grid": {"shape": [8, 8, 8], "spacing": None}}  # fmt: skip


def merge(base: dict, changes: dict) -> dict:
    """Merge ``changes`` into ``base`` key by key, as Snakemake does."""
    merged = copy.deepcopy(base)
    for key, value in changes.items():
        nested = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if nested else value
    return merged


def shipped(*overlays: str) -> dict:
    """The default configuration with files of ``config/`` on top."""
    config = PAPER
    for name in overlays:
        config = merge(config, yaml.safe_load((ROOT / "config" / name).read_text()))
    return config


@pytest.mark.parametrize(
    "overlays",
    [[], ["demo.yaml"], ["proof.yaml"], ["demo.yaml", "sample.yaml"]],
)
def test_shipped_configurations_are_valid(overlays):
    check_config(shipped(*overlays), SCHEMA)


@pytest.mark.parametrize(
    ("overlays", "changes", "synthetic"),
    [
        ([], {}, False),
        (["demo.yaml"], {}, True),
        (["proof.yaml"], {}, True),
        (["demo.yaml"], {"paths": {"images": "raw/adni/images"}}, False),
        (["demo.yaml"], {"cohort": {"bids_dir": "raw/site"}}, False),
        (["demo.yaml"], {"cohort": {"beside": {"SITE": {"bids_dir": "raw/site"}}}}, False),
        (["demo.yaml"], {"autoencoder": {"pretrained": "resources/ukb.safetensors"}}, False),
        (["demo.yaml"], {"published": {"ldae": "resources/published/ldae.ckpt"}}, False),
    ],
)
def test_only_synthetic_brains_unless_others_are_among_the_sources(overlays, changes, synthetic):
    assert only_synthetic_brains(merge(shipped(*overlays), changes)) == synthetic


def test_demo_states_only_what_differs():
    def same(changes, base, path=""):
        for key, value in changes.items():
            if isinstance(value, dict) and isinstance(base.get(key), dict):
                yield from same(value, base[key], f"{path}{key}.")
            elif key in base and base[key] == value:
                yield f"{path}{key}"

    demo = yaml.safe_load((ROOT / "config/demo.yaml").read_text())
    assert list(same(demo, PAPER)) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"ldm": {"lerning_rate": 1}},
            r"unknown key ldm.lerning_rate \(did you mean learning_rate",
        ),
        ({"device": "gpu"}, "device is 'gpu', allowed: cuda, cpu"),
        ({"volumes": {"shape": [1, 2]}}, r"volumes.shape is \[1, 2\]"),
        ({"autoencoder": {"batch_size": 0}}, "autoencoder.batch_size is 0"),
    ],
)
def test_wrong_configurations_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        check_config(merge(PAPER, changes), SCHEMA)


@pytest.mark.parametrize("beside", [{}, {"SYN": {"bids_dir": "x"}}])
def test_synthetic_data_set_that_nothing_reads_is_refused(beside):
    demo = yaml.safe_load((ROOT / "config/demo.yaml").read_text())
    demo["cohort"]["beside"] = beside
    config = merge(PAPER, demo)
    with pytest.raises(UserError, match="SYN, but nothing reads them"):
        check_config(config, SCHEMA)


def test_bound_on_a_measure_of_mriqc_needs_a_table_of_it():
    config = merge(PAPER, {"preprocess": {"qc": {"mriqc_cjv": [None, 0.9]}}})
    with pytest.raises(UserError, match="bounds mriqc_cjv, but there is no table of MRIQC"):
        check_config(config, SCHEMA)
    check_config(merge(config, {"cohort": {"mriqc": "group_T1w.tsv"}}), SCHEMA)
    beside = {"AIBL": {"bids_dir": "x", "mriqc": "group_T1w.tsv"}}
    check_config(merge(config, {"cohort": {"beside": beside}}), SCHEMA)
    with pytest.raises(UserError, match=r"mriqc_cjv is 0\.9"):
        check_config(merge(PAPER, {"preprocess": {"qc": {"mriqc_cjv": 0.9}}}), SCHEMA)


def test_role_of_a_data_set_is_one_of_three_and_both_without_any():
    datasets = {"OASIS3": {"bids_dir": "x", "role": "test"}, "AIBL": {"bids_dir": "y"}}
    cohort = merge(PAPER, {"cohort": {"beside": datasets}})
    check_config(cohort, SCHEMA)
    assert cohort_roles(cohort["cohort"]) == {"OASIS3": "test", "AIBL": "both"}
    assert external_cohorts(cohort["cohort"]) == ["OASIS3"]
    with pytest.raises(UserError, match=r"OASIS3.role is 'val', allowed: train, test, both"):
        check_config(merge(cohort, {"cohort": {"beside": {"OASIS3": {"role": "val"}}}}), SCHEMA)


def test_missing_config_key_is_named():
    config = {key: value for key, value in PAPER.items() if key != "seed"}
    with pytest.raises(UserError, match="seed are missing"):
        check_config(config, SCHEMA)


def test_splits_name_systems_of_the_probes():
    def of(systems):
        changes = {"target_splits": {"systems": systems}, "external_encoders": {"theirs": ENCODER}}
        return merge(PAPER, {"evaluation": changes})

    check_config(of(["ldae", "age_sex", "theirs"]), SCHEMA)
    with pytest.raises(UserError, match=r"target_splits\.systems names volume, their, which"):
        check_config(of(["ldae", "volume", "their"]), SCHEMA)
    for section in ("scanner", "fairness"):
        wrong = merge(PAPER, {"evaluation": {section: {"systems": ["volume"]}}})
        with pytest.raises(UserError, match=rf"{section}\.systems names volume, which"):
            check_config(wrong, SCHEMA)
        check_config(merge(PAPER, {"evaluation": {section: None}}), SCHEMA)


def test_ldae_with_slices_stands_beside_an_ldae_with_another_encoder_alone():
    for kind in ("components", "both"):
        check_baselines({"baselines": ["ldae_slices"], "ldae": {"encoder": {"kind": kind}}})
    check_baselines({"baselines": ["dae"], "ldae": {"encoder": {"kind": "slices"}}})
    with pytest.raises(UserError, match=r"baselines: ldae_slices .* Leave it out, or set"):
        check_baselines({"baselines": ["ldae_slices"], "ldae": {"encoder": {"kind": "slices"}}})


def test_no_noise_is_drawn_once_alone():
    check_start_noise({"kind": "shared", "draws": 3})
    check_start_noise({"kind": "zero", "draws": 1})
    with pytest.raises(UserError, match=r"evaluation.start_noise: .* Set draws: 1"):
        check_start_noise({"kind": "zero", "draws": 2})
