"""Memory model: types and lifetimes of tensors on a GPU; micro-batch and batch size that fit it."""

import logging
from collections import namedtuple
from pathlib import Path

import pytest
import torch
import yaml
from torch.nn import functional

from helpers.networks import SMALL_AE, SMALL_ENCODER, SMALL_LDM
from helpers.training import LDM, settings
from ldae.config import AUTO
from ldae.errors import UserError
from ldae.inference import memory as inference_memory
from ldae.inference.memory import fitting_batch, network_bytes
from ldae.nets import memory
from ldae.nets.memory import GIB, Gpu, cuda_autocast, largest_fit, peak_bytes, powers_of_two
from ldae.nets.unet import build_unet
from ldae.training import memory_choice
from ldae.training.distributed.processes import Processes
from ldae.training.memory import Upstream, training_memory
from ldae.training.memory_choice import choose, fit_to_memory
from ldae.training.memory_table import needed_bytes, rows, table_key
from ldae.training.settings import delete_checkpoints, training_section
from ldae.training.stages import train

CONFIG = yaml.safe_load((Path(__file__).parents[2] / "config/config.yaml").read_text())
PAPER = Upstream(CONFIG["volumes"]["shape"], CONFIG["autoencoder"], CONFIG["ldm"])
SMALL = Upstream((16, 16, 16), SMALL_AE, SMALL_LDM)
A100 = Gpu("an A100 of 40 GB", int(0.9 * 39.4 * GIB))
STAGES = ("autoencoder", "ldm", "ldae", "dae", "supervised_diagnosis", "supervised_age")
CPU = torch.device("cpu")


def small(stage: str, **changes):
    """Section of a stage with small networks."""
    sections = CONFIG | {"ldm": SMALL_LDM, "autoencoder": SMALL_AE}
    sections = sections | {"ldae": CONFIG["ldae"] | {"encoder": SMALL_ENCODER}}
    dae = CONFIG["dae"] | SMALL_LDM | {"shape": [16, 16, 16], "num_heads": 1}
    chosen = {"micro_batch": 1, "checkpointing": False, "batch_size": 4}
    return training_section(sections | {"dae": dae}, stage) | chosen | changes


# --- the model --------------------------------------------------------------------------------


def test_normalisations_are_float32_under_the_rules_of_cuda():
    x = torch.ones(1, 2, 2, 2, 2, dtype=torch.bfloat16)
    calls = {
        "group_norm": lambda: functional.group_norm(x, 2),
        "layer_norm": lambda: functional.layer_norm(x, [2]),
        "upsample": lambda: functional.interpolate(x, scale_factor=2),
        "softmax": lambda: x.softmax(1),
    }
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert {call().dtype for call in calls.values()} == {torch.bfloat16}
        with cuda_autocast():
            assert {call().dtype for call in calls.values()} == {torch.float32}
        assert functional.group_norm(x, 2).dtype == torch.bfloat16  # as before
    with cuda_autocast():
        assert functional.group_norm(x, 2).dtype == torch.bfloat16  # without autocast


def test_operators_in_float32_are_those_of_torchs_list():
    header = Path(torch.__file__).parent / "include/ATen/autocast_mode.h"
    listed = header.read_text().split("#define AT_FORALL_FP32(_)")[1].split("#define")[0]
    listed += "_(softmax)"  # in a list of its own: AT_FORALL_FP32_SET_OPT_DTYPE
    for name in memory.FLOAT32_ON_CUDA:
        assert f"_({name.split('.')[0]})" in listed


def test_peak_counts_tensors_that_are_alive_at_once():
    kept = []

    def call():
        a = torch.ones(1000)  # 4000 bytes
        b = a.exp()
        del a
        kept.append(b * 2)

    with memory.without_content():
        assert peak_bytes([call]) == 8000
        kept.clear()
        assert peak_bytes([call, lambda: torch.ones(10)]) == 8000  # of the largest


def test_dropout_keeps_a_mask_of_one_byte():
    x = torch.ones(1000, requires_grad=True)
    out = []

    def call():
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out.append(functional.dropout(x, 0.5))

    with memory.without_content():
        assert peak_bytes([call]) == 4000 + 1000


@pytest.mark.parametrize("stage", ["autoencoder", "ldm", "ldae", "dae", "supervised_age"])
def test_step_of_every_stage_needs_more_with_the_batch_and_less_recomputed(stage):
    changes = {}
    if stage == "autoencoder":
        own = CONFIG["autoencoder"]
        changes = {"perceptual": own["perceptual"] | {"net": None}}
        changes["adversarial"] = own["adversarial"] | {"num_layers": 1, "channels": 8}
    (one, state), (four, _), (recomputed, _) = (
        training_memory(stage, small(stage, **changes, **other), SMALL)
        for other in (
            {"micro_batch": 1},
            {"micro_batch": 4},
            {"micro_batch": 4, "checkpointing": True},
        )
    )
    assert state < one < four
    assert four - state < 4.5 * (one - state)
    assert state < recomputed < four


def test_float32_needs_more_than_bf16():
    section = small("ldm", micro_batch=64)  # with few items the copies of the weights count
    bf16, fp32 = (training_memory("ldm", section, SMALL, name)[0] for name in ("bf16", "fp32"))
    assert bf16 < fp32


# --- the table --------------------------------------------------------------------------------


def test_every_training_of_the_configuration_is_in_the_table():
    for stage in STAGES:
        key = table_key(stage, training_section(CONFIG, stage), PAPER, "bf16")
        assert (key, 1, False) in rows() and (key, 1, True) in rows()


def test_table_is_what_the_model_computes():
    section = training_section(CONFIG, "ldm")
    known = needed_bytes("ldm", section, PAPER, "bf16", 64, False)
    changed = section | {"micro_batch": 64, "checkpointing": False}
    assert training_memory("ldm", changed, PAPER)[0] == known


def test_architecture_outside_the_table_is_computed(caplog):
    caplog.set_level(logging.INFO)
    section = small("ldm")
    assert needed_bytes("ldm", section, SMALL, "bf16", 1, False) > 0
    assert "is not in the table and is computed" in caplog.text
    assert table_key("ldm", section, SMALL, "bf16") == table_key(
        "ldm", section | {"epochs": 3, "learning_rate": 1.0}, SMALL, "fp16"
    )
    assert table_key("ldm", section, SMALL, "bf16") != table_key(
        "ldm", section | {"num_res_blocks": 3}, SMALL, "bf16"
    )


# --- the choice -------------------------------------------------------------------------------


def test_powers_of_two_divide_the_batch():
    assert powers_of_two(128) == [1, 2, 4, 8, 16, 32, 64, 128]
    assert powers_of_two(12) == [1, 2, 4]
    assert powers_of_two(7) == [1]


def test_largest_fit_is_the_last_within_the_limit():
    assert largest_fit([1, 2, 4, 8], lambda size: 10 * size, 40) == 4
    assert largest_fit([1, 2], lambda size: 10 * size, 9) is None


@pytest.mark.parametrize(
    ("stage", "micro_batch", "recomputed"),
    [
        ("autoencoder", 1, False),
        ("ldm", 128, False),
        ("ldae", 4, False),
        ("dae", 2, False),
        ("supervised_age", 4, False),
    ],
)
def test_paper_fits_its_own_cards(stage, micro_batch, recomputed):
    section = training_section(CONFIG, stage)
    chosen = choose(stage, section, PAPER, section["batch_size"], "bf16", A100)
    assert (chosen.micro_batch, chosen.checkpointing) == (micro_batch, recomputed)
    needed = needed_bytes(stage, section, PAPER, "bf16", micro_batch, recomputed)
    assert needed <= 36 * GIB
    assert f"{needed / GIB:.1f} GiB by the model; an A100 of 40 GB" in chosen.reason


def test_evaluation_of_the_paper_takes_what_fits(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    compute = namedtuple("Compute", "device cuda")(torch.device("cuda", 0), True)
    monkeypatch.setattr(inference_memory, "visible_gpu", lambda index: Gpu("a GPU", 4 * GIB))
    assert fitting_batch(AUTO, compute, lambda size: size * GIB) == 4
    assert "batch_size 4: 4.0 GiB by the model; a GPU" in caplog.text
    assert fitting_batch(3, compute, lambda size: 100 * GIB) == 3  # as asked
    with pytest.raises(UserError, match=r"evaluation.batch_size: one scan needs 5.0 GiB"):
        fitting_batch(AUTO, compute, lambda size: 5 * size * GIB)
    on_cpu = namedtuple("Compute", "device cuda")(CPU, False)
    assert fitting_batch(AUTO, on_cpu, lambda size: 100 * GIB) == 8


def test_model_of_a_network_leaves_the_network_as_it_is():
    net = build_unet(SMALL_LDM, 3)

    class WithStep(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, x):
            return self.net(x.expand(-1, 3, -1, -1, -1), torch.zeros(len(x), dtype=torch.long))

    before = {key: value.clone() for key, value in net.state_dict().items()}
    one, two = (network_bytes(WithStep(), (8, 8, 8), size) for size in (1, 2))
    assert memory.weight_bytes([net]) < one < two
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())


def test_recomputation_only_where_the_smallest_does_not_fit():
    section = small("ldm", micro_batch=AUTO, checkpointing=AUTO)

    def needed(size, recompute):
        return needed_bytes("ldm", section, SMALL, "fp32", size, recompute)

    def chosen(limit, **changes):
        return choose("ldm", section | changes, SMALL, 4, "fp32", Gpu("a GPU", limit))[:2]

    assert chosen(needed(4, False)) == (4, False)
    assert chosen(needed(4, False) - 1) == (2, False)
    assert chosen(needed(1, False) - 1)[1]
    assert chosen(needed(2, False), micro_batch=2) == (2, False)
    assert chosen(needed(2, False) - 1, micro_batch=2) == (2, True)
    assert chosen(needed(1, True), checkpointing=True) == (1, True)
    with pytest.raises(UserError, match=r"ldm\.micro_batch: 1 needs .* GiB .*a GPU"):
        chosen(needed(1, False) - 1, checkpointing=False)


def test_batch_norm_makes_the_choice_independent_of_the_gpu():
    section = training_section(CONFIG, "autoencoder")
    large = choose("autoencoder", section, PAPER, 8, "bf16", Gpu("a GPU", 200 * GIB))
    assert large.micro_batch == 1 and "batch normalisation" in large.reason
    standardised = SMALL_ENCODER | {"standardize": True}
    section = small("supervised_age", micro_batch=AUTO, checkpointing=AUTO, encoder=standardised)
    assert choose("supervised_age", section, SMALL, 4, "fp32", Gpu("a GPU", 200 * GIB))[0] == 2


def test_cpu_takes_the_numbers_of_before():
    numbers = {}
    for stage in STAGES:
        section = training_section(CONFIG, stage)
        chosen = choose(stage, section, PAPER, section["batch_size"], "fp32", None)
        assert not chosen.checkpointing
        numbers[stage] = chosen.micro_batch
    assert [*numbers.values()] == [1, 64, 2, 1, 2, 2]


def test_choice_is_kept_with_the_checkpoints(tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(memory_choice, "upstream_of", lambda settings: SMALL)
    section = small("ldm", micro_batch=AUTO, checkpointing=AUTO, processes=1)
    cuda = torch.device("cuda", 0)

    def chosen(limit, **changes):
        monkeypatch.setattr(memory_choice, "visible_gpu", lambda index: Gpu("a GPU", limit))
        given = settings("ldm", section | changes, tmp_path)
        given, reason = fit_to_memory(given, cuda, "fp32", Processes())
        assert "a GPU" in reason
        return given.cfg["micro_batch"]

    assert chosen(200 * GIB) == 4
    enough = needed_bytes("ldm", section, SMALL, "fp32", 1, False)
    assert chosen(enough) == 1  # no checkpoint yet
    (folder,) = [path.parent for path in tmp_path.rglob("memory.json")]
    (folder / "0123").mkdir()
    (folder / "0123/identity.json").write_text("{}")
    assert chosen(200 * GIB) == 1
    assert chosen(200 * GIB, batch_size=8) == 8  # another effective batch
    assert "ldm: micro_batch 8 without checkpointing" in caplog.text
    delete_checkpoints(folder / "0123")
    assert not list(folder.iterdir())


def test_training_with_auto_on_a_cpu_is_the_same_as_with_the_number(chain, tmp_path):
    root, _ = chain
    cfg = LDM | {"epochs": 1, "checkpointing": AUTO}
    cards = {}
    for name, micro_batch in (("auto", AUTO), ("number", 4)):
        out = tmp_path / name / "model"
        given = settings("ldm", cfg | {"micro_batch": micro_batch}, tmp_path / name, root)
        train(given, Processes())
        cards[name] = yaml.safe_load((Path(given.out_dir) / "model.json").read_text())
    assert cards["auto"]["sha256"] == cards["number"]["sha256"], out
    assert cards["auto"]["config"] == cards["number"]["config"]
    assert cards["auto"]["machine"]["memory_reason"] == "a CPU, whose memory is not asked for"
    assert "memory_reason" not in cards["number"]["machine"]
