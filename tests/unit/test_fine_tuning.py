"""Fine-tuning: people and parts that learn, starts, predictions of the test split, the table."""

import copy
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers.fine_tuning import ABOUT, PEOPLE, make_cases
from helpers.networks import PAPER, SMALL_ENCODER
from helpers.training import ENCODER, SEED, SUPERVISED, assert_same, settings
from ldae.config_checks import check_fine_tuning, start_model
from ldae.data.few_labels import rows_of_people
from ldae.data.volume_store import VolumeStore
from ldae.errors import UserError
from ldae.evaluation.fine_tuning import few_label_section, fine_tune
from ldae.evaluation.fine_tuning_cases import Case, cases
from ldae.evaluation.fine_tuning_table import write_fine_tuning_table
from ldae.files import read_table
from ldae.models.loading import load_encoder, load_slices, load_supervised
from ldae.models.storage import load_card
from ldae.nets.fine_tuning import freeze_but
from ldae.nets.semantic_encoder import build_supervised
from ldae.report.methods_evaluation import evaluation
from ldae.training.distributed.processes import Processes
from ldae.training.distributed.signals import Interrupted
from ldae.training.stages import train

EXPERIMENT = PAPER["evaluation"]["fine_tuning"] | {"least_steps": 4}


def test_cases_have_names_and_scratch_keeps_nothing():
    found = cases(ABOUT)
    assert [case.name for case in found] == [
        *("scratch-all-10", "ldae-head-10", "ldae-all-10"),
        *("scratch-all-all", "ldae-head-all", "ldae-all-all"),
    ]
    assert [Case.of(case.name) for case in found] == found
    assert cases(PAPER["evaluation"]["fine_tuning"]) == []  # off


# --- people -------------------------------------------------------------------------------------


def test_people_are_nested_balanced_and_come_with_all_their_scans():
    index = pd.DataFrame({"participant_id": [f"sub-{i // 2:02d}" for i in range(80)]})
    index["diagnosis"] = np.where(np.arange(80) // 2 % 4 == 0, "AD", "CN")  # 10 and 30 people
    index.loc[1, "diagnosis"] = "CN"  # first AD, then CN: a person of AD
    rows = np.arange(4, 80)[::-1].copy()  # without two people of either class' beginning
    chosen = [set(rows_of_people(index, rows, ["CN", "AD"], n, 0)) for n in (2, 5, 9, 50)]
    assert all(few < many for few, many in pairwise(chosen))
    for few, number in zip(chosen, (2, 5, 9), strict=False):
        people = index.loc[sorted(few)].groupby("diagnosis")["participant_id"].nunique()
        assert people.to_dict() == {"AD": number, "CN": number}
        assert len(few) == 4 * number
    assert chosen[-1] == set(rows) == set(rows_of_people(index, rows, ["CN", "AD"], "all", 0))
    again = rows_of_people(index, rows, ["CN", "AD"], 5, 0)
    assert again.tolist() == [row for row in rows if row in chosen[1]]
    assert set(rows_of_people(index, rows, ["CN", "AD"], 5, 1)) != chosen[1]
    both = rows_of_people(index, np.arange(80), ["CN", "AD"], 10, 0)
    assert {0, 1} <= set(both)


# --- parts --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoder", "last"),
    [
        (SMALL_ENCODER, "backbone.stages.3."),
        (ENCODER, "backbone.layer4."),
        (ENCODER | {"backbone": "test_efficientnet"}, "backbone.blocks.4."),
    ],
)
def test_frozen_parts_neither_learn_nor_draw(encoder, last):
    net = build_supervised(SUPERVISED | {"encoder": encoder}, 2)
    names = [name for name, _ in net.encoder.named_parameters()]
    place = next(number for number, name in enumerate(names) if name.startswith(last))
    for trainable, expected in (("head", []), ("last_stage", names[place:]), ("all", names)):
        parts = freeze_but(net, trainable)
        learning = [name for name, one in net.encoder.named_parameters() if one.requires_grad]
        assert learning == [name for name in names if name in expected]
        given = {id(one) for part in parts.values() for one in part.parameters()}
        assert given == {id(one) for one in net.encoder.parameters() if one.requires_grad}
        assert all(one.requires_grad for one in net.head.parameters()) and net.head.training
        for module in net.encoder.modules():
            own = list(module.parameters())
            if own and not any(one.requires_grad for one in own):
                assert not any(inner.training for inner in module.modules())
    with pytest.raises(UserError, match="trainable is 'half'"):
        freeze_but(net, "half")


# --- settings -----------------------------------------------------------------------------------


def test_section_has_steps_and_a_batch_for_few_scans():
    section = SUPERVISED | {"batch_size": 8, "micro_batch": 2, "epochs": 3, "processes": 2}
    about = EXPERIMENT | {"least_steps": 50}
    few = few_label_section(Case("ldae", "head", 2), section, about, 5)
    assert (few["batch_size"], few["processes"], few["people"]) == (4, 1, 2)
    fewer = few_label_section(Case("ldae", "head", 1), section | {"micro_batch": 8}, about, 5)
    assert (fewer["batch_size"], fewer["micro_batch"], fewer["epochs"]) == (5, 5, 50)
    assert few["micro_batch"] == 2 and few["epochs"] == 40  # 50 steps of 4 are 200 scans
    many = few_label_section(Case("ldae", "all", "all"), section, about, 4000)
    assert (many["batch_size"], many["epochs"], many["validate_every"]) == (8, 3, 3)
    section |= {"micro_batch": "auto", "encoder": ENCODER | {"pretrained": "x.safetensors"}}
    starts = [
        few_label_section(Case(start, "all", 2), section, about, 3) for start in ABOUT["starts"]
    ]
    assert [one["encoder"]["pretrained"] for one in starts] == [None, None]
    assert (starts[0]["batch_size"], starts[0]["micro_batch"]) == (3, "auto")
    imagenet = few_label_section(Case("imagenet", "all", 2), section, about, 3)
    assert imagenet["encoder"]["pretrained"] == "x.safetensors"


def test_starts_that_cannot_be_there_are_refused():
    config = copy.deepcopy(PAPER)
    about, encoder = config["evaluation"]["fine_tuning"], config["ldae"]["encoder"]
    about["starts"] = ["scratch", "imagenet", "ldae"]
    check_fine_tuning(config)
    encoder["kind"] = "components"
    with pytest.raises(
        UserError, match=r"starts names ldae, but ldae\.encoder\.kind is components"
    ):
        check_fine_tuning(config)
    config["baselines"] = ["ldae_slices"]
    check_fine_tuning(config)
    assert start_model(config) == "ldae_slices"
    config["published"]["ldae"] = "theirs.ckpt"  # has slices
    assert start_model(config) == start_model(PAPER) == "ldae"
    check_fine_tuning(config)
    encoder["pretrained"] = None
    with pytest.raises(UserError, match=r"starts names imagenet, but .*pretrained is null"):
        check_fine_tuning(config)
    about["starts"] = []
    check_fine_tuning(config)


# --- trainings ----------------------------------------------------------------------------------


def run_case(chain, case, folder, encoder=ENCODER):
    inputs = {name: chain[0] / name for name in ("volumes", "ldae")}
    outputs = {"model": folder / "model", "run": folder / "run"}
    outputs["predictions"] = folder / "predictions.tsv"
    section = SUPERVISED | {"encoder": encoder}
    fine_tune(case, inputs, outputs, section, EXPERIMENT, SEED, 2)
    return outputs


@pytest.mark.parametrize("trainable", ["head", "last_stage", "all"])
def test_case_starts_from_the_ldae_and_predicts_the_test_split(chain, trainable, tmp_path):
    outputs = run_case(chain, Case("ldae", trainable, 1), tmp_path)
    net, card = load_supervised(outputs["model"])
    start, ldae = load_encoder(chain[0] / "ldae")
    before, after = start.state_dict(), net.encoder.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    first = net.encoder.backbone.pretrained_cfg["first_conv"]
    stem, late = f"backbone.{first}.weight", "backbone.layer4.0.conv1.weight"
    assert bool(changed) == (trainable != "head")
    assert (late in changed, stem in changed) == (trainable != "head", trainable == "all")
    if trainable == "last_stage":
        frozen = ("backbone.conv1", "backbone.bn1", *(f"backbone.layer{n}" for n in (1, 2, 3)))
        assert not any(name.startswith(frozen) for name in changed)  # nor the batch norms' means
    assert card["start_sha256"] == ldae["sha256"]
    assert card["learnt_from"] == {"people": 2, "scans": 4}
    store = VolumeStore(chain[0] / "volumes")
    table = read_table(outputs["predictions"])
    assert table["scan_id"].tolist() == store.index.loc[store.rows("test"), "scan_id"].tolist()
    assert not list((tmp_path / "run").glob("*/"))  # checkpoints are gone


def test_interrupted_case_goes_on_bit_for_bit(chain, tmp_path):
    case, root = Case("ldae", "last_stage", "all"), chain[0]
    cfg = few_label_section(case, SUPERVISED | {"encoder": ENCODER}, EXPERIMENT, 6)
    inputs = {name: str(root / name) for name in ("volumes", "ldae")}
    whole, parts = (
        settings("fine_tuning", cfg, tmp_path / name, inputs=inputs) for name in ("whole", "parts")
    )
    train(whole, Processes())
    stopped = settings("fine_tuning", cfg, tmp_path / "parts", inputs=inputs, stop_after=2)
    with pytest.raises(Interrupted):
        train(stopped, Processes())
    train(parts, Processes())
    models = [load_file(f"{one.out_dir}/model.safetensors") for one in (whole, parts)]
    assert_same(*models)
    assert load_card(whole.out_dir)["learnt_from"] == {"people": 3, "scans": 6}


def test_scratch_and_imagenet_begin_with_their_own_weights(chain, tmp_path):
    scratch = run_case(chain, Case("scratch", "all", 1), tmp_path / "scratch")
    assert load_card(scratch["model"])["start_sha256"] is None
    encoder = build_supervised(SUPERVISED, 2).encoder
    path = tmp_path / "backbone.safetensors"
    state, first = encoder.backbone.state_dict(), encoder.backbone.pretrained_cfg["first_conv"]
    colours = state[f"{first}.weight"].expand(-1, 3, -1, -1) / 3
    state[f"{first}.weight"] = colours.contiguous()
    save_file(state, path)
    imagenet = run_case(
        chain, Case("imagenet", "head", 1), tmp_path / "net", ENCODER | {"pretrained": str(path)}
    )
    net, _ = load_supervised(imagenet["model"])
    torch.testing.assert_close(net.encoder.backbone.state_dict(), encoder.backbone.state_dict())


def test_linear_encoder_is_refused_with_the_way_out(tmp_path, monkeypatch):
    card = {"architecture": {"kind": "components"}}
    monkeypatch.setattr("ldae.models.loading.load_encoder", lambda folder: (None, card))
    with pytest.raises(UserError, match=r"of components alone.*linear probes"):
        load_slices(tmp_path)


def test_methods_name_the_experiment_where_it_is_on():
    index = pd.DataFrame({"participant_id": ["sub-1"]})
    assert "Supervised encoders" not in evaluation(PAPER, index)
    on = copy.deepcopy(PAPER)
    on["evaluation"]["fine_tuning"]["starts"] = ["scratch", "ldae"]
    text = evaluation(on, index)
    assert "from scratch and from the LDAE's encoder, on 10, 30, 100 and all people" in text


# --- table --------------------------------------------------------------------------------------


def test_table_has_intervals_and_paired_gains_on_scratch(tmp_path):
    predictions, models = make_cases(tmp_path)
    out = tmp_path / "table.tsv"
    write_fine_tuning_table(predictions, models, ["CN", "AD"], out, 400, 0)
    table = read_table(out).set_index(["start", "trainable", "people"])
    assert table.index.tolist() == [
        (case.start, case.trainable, str(case.people)) for case in cases(ABOUT)
    ]
    assert (table["n_subjects"] == PEOPLE).all() and (table["n_scans"] == 2 * PEOPLE).all()
    assert (table["ci_low"] < table["value"]).all() and (table["value"] <= table["ci_high"]).all()
    assert table.loc["scratch", ["gain", "p", "p_holm"]].isna().all(axis=None)
    for people in ("10", "all"):
        scratch = table.loc[("scratch", "all", people), "value"]
        own = table.loc[("ldae", "head", people)]
        assert own["gain"] == pytest.approx(own["value"] - scratch)
        assert own["gain_low"] > 0 and own["p"] < own["p_holm"] < 0.05
    assert table["train_subjects"].tolist() == [20] * 3 + [400] * 3
    without = {name: path for name, path in predictions.items() if "scratch" not in name}
    write_fine_tuning_table(without, models, ["CN", "AD"], out, 50, 0)
    assert read_table(out)["gain"].isna().all()


def test_cases_of_other_scans_are_refused(tmp_path):
    predictions, models = make_cases(tmp_path)
    path = predictions["ldae-head-10"]
    read_table(path).iloc[1:].to_csv(path, sep="\t", index=False)
    with pytest.raises(UserError, match=r"ldae-head-10\.tsv predicts other scans"):
        write_fine_tuning_table(predictions, models, ["CN", "AD"], tmp_path / "t.tsv", 50, 0)
