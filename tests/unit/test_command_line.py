"""Snakemake's command line: targets, profiles, and values inside mappings of --config."""

import copy
import sys
from pathlib import Path

import pytest
import yaml

from helpers.project import load_workflow
from ldae.config import check_config, restore_types
from ldae.errors import UserError
from ldae.orchestration.command_line import (
    MAIN_TARGETS,
    given_arguments,
    require_profile_configuration,
    require_targets,
)

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "workflow/schemas/config.schema.yaml"
CONFIG = yaml.safe_load((ROOT / "config/config.yaml").read_text())


@pytest.mark.parametrize(
    ("text", "place", "value"),
    [
        ("ldae: {batch_size: 4}", "ldae.batch_size", 4),
        ("ldm: {learning_rate: 2.5e-4}", "ldm.learning_rate", 2.5e-4),
        ("ldae: {compile: true}", "ldae.compile", True),
        ("autoencoder: {pretrained: null}", "autoencoder.pretrained", None),
        ("volumes: {shape: [64, 80, 64]}", "volumes.shape", [64, 80, 64]),
        ("paths: {results: results/2}", "paths.results", "results/2"),
        ("paths: {results: 2026}", "paths.results", "2026"),  # a folder, not a number
        ("ldae: {micro_batch: auto}", "ldae.micro_batch", "auto"),
        ("ldae: {batch_size: four}", "ldae.batch_size", "four"),  # the schema refuses it
    ],
)
def test_values_inside_mappings_get_the_type_that_the_schema_allows(text, place, value):
    given = yaml.load(text, Loader=yaml.BaseLoader)  # as Snakemake reads --config
    config = copy.deepcopy(CONFIG)
    for section, keys in given.items():
        config[section] |= keys
    restore_types(config, given, SCHEMA)
    section, key = place.split(".")
    assert config[section][key] == value and type(config[section][key]) is type(value)
    config[section][key] = CONFIG[section][key]
    assert config == CONFIG
    if value == "four":
        config[section][key] = value
        with pytest.raises(UserError, match="batch_size is 'four'"):
            check_config(config, SCHEMA)


def test_values_of_configuration_files_are_left_alone():
    config = copy.deepcopy(CONFIG)
    config["paths"]["results"] = "7"
    restore_types(config, {"seed": 3, "scan": ["001"], "nothing": {"here": "1"}}, SCHEMA)
    assert config == {**CONFIG, "paths": CONFIG["paths"] | {"results": "7"}}


def test_unknown_target_gets_a_suggestion():
    rules = ["all", "figures", "figure5_lda", *MAIN_TARGETS]
    require_targets({"figures", "results/figures/a.pdf", "model.json"}, rules)
    with pytest.raises(UserError, match=r"no target figurs\. Did you mean figures\?"):
        require_targets({"figurs"}, rules)
    with pytest.raises(UserError, match=r"no target xyz\. Stages: check, resources, bids, .* and"):
        require_targets({"xyz"}, rules)


def test_main_targets_are_rules():
    assert set(MAIN_TARGETS) <= {rule.name for rule in load_workflow("config/demo.yaml").rules}


def test_configuration_of_a_profile_is_not_dropped_in_silence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small").mkdir()
    (tmp_path / "small/config.yaml").write_text("configfile: [small.yaml]\ncores: 2\n")
    (tmp_path / "small.yaml").write_text("synthetic: {subjects: 2}\npaths: {}\n")
    given, mine = {"paths": {}}, Path("mine.yaml")
    require_profile_configuration(["none", "small"], [Path("small.yaml"), mine], given)
    require_profile_configuration(["small"], [mine], given | {"synthetic": {}})
    with pytest.raises(UserError, match=r"replaces small\.yaml of the profile small, and synth"):
        require_profile_configuration(["small"], [mine], given)
    # Snakemake finds one file also beside the profile; of a file that is gone nothing is missing.
    (tmp_path / "small/own.yaml").write_text("synthetic: {}\n")
    (tmp_path / "small/config.yaml").write_text("configfile: own.yaml\n")
    require_profile_configuration(["small"], [Path("small/own.yaml")], given)
    with pytest.raises(UserError, match=r"replaces own\.yaml"):
        require_profile_configuration(["small"], [mine], given)
    (tmp_path / "small/config.yaml").write_text("configfile: gone.yaml\n")
    require_profile_configuration(["small"], [mine], given)


def test_arguments_are_those_of_a_snakemake_that_a_person_called(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/pytest", "-q"])
    assert given_arguments() is None
    monkeypatch.setattr(sys, "argv", ["/env/bin/snakemake", "--profile", "demo", "-n", "figures"])
    found = given_arguments()
    assert found.targets == {"figures"} or list(found.targets) == ["figures"]
    assert found.profile == ["demo"]
    monkeypatch.setattr(sys, "argv", ["/env/snakemake/__main__.py", "--mode", "subprocess", "all"])
    assert given_arguments() is None
