"""Training stages: the cards they write, their embeddings, the inputs they refuse."""

import numpy as np
import pandas as pd
import pytest
import torch

from helpers.training import DIFFUSION, assert_same, inputs, objective, settings
from ldae.config import section_name
from ldae.data.embeddings import load_embeddings
from ldae.data.latent_store import LatentStore
from ldae.data.volume_store import VolumeStore
from ldae.errors import UserError
from ldae.inference.embeddings import embed, ldae_encoder, untrained_encoder
from ldae.models.loading import load_ldae
from ldae.models.storage import REQUIRED, load_card, load_state, save_model
from ldae.models.training_scans import write_training_scans
from ldae.training.distributed.processes import Processes
from ldae.training.loop import fit
from ldae.training.stages import STAGES, train
from ldae.training.state import TIMING


def test_model_cards_of_stages_name_their_inputs(chain, tmp_path):
    root, configs = chain
    volumes, latents = VolumeStore(root / "volumes"), LatentStore(root / "latents")
    cards = {name: load_card(root / name) for name in ("autoencoder", "ldm", "ldae")}
    assert cards["autoencoder"]["data"] == cards["ldae"]["data"] == volumes.content_hash
    assert {card["split"] for card in cards.values()} == {volumes.split_hash}
    assert cards["ldm"]["data"] == latents.content_hash
    assert cards["ldm"]["latent_scale"] == cards["ldae"]["latent_scale"] == latents.scale
    assert cards["ldae"]["ldm_sha256"] == cards["ldm"]["sha256"]
    assert cards["ldae"]["autoencoder_sha256"] == cards["autoencoder"]["sha256"]
    assert cards["ldae"]["config"] == configs["ldae"]
    history = pd.read_csv(root / "ldae/history.tsv", sep="\t")
    assert history.columns[-3:].tolist() == TIMING
    best = history.loc[history["val_ssim"].idxmax()]
    assert cards["ldae"]["epoch"] == best["epoch"]
    assert cards["ldae"]["metrics"]["val_ssim"] == pytest.approx(best["val_ssim"])
    assert load_card(root / "ldm")["epoch"] == 2
    made, cfg = objective(chain, "ldm")
    fit(made, settings("ldm", cfg, tmp_path))
    last = made.ema.state_dict()
    assert_same({k.removeprefix("unet."): v for k, v in last.items()}, load_state(root / "ldm"))


def test_every_training_has_a_kind_of_model_card():
    """Else a training would fail when its model is saved, after the last epoch."""
    assert {section_name(stage) for stage in STAGES} == set(REQUIRED)


def test_embeddings_of_trained_and_untrained_encoder(chain, tmp_path):
    root, _ = chain
    codes = {}
    for system, encoder in (("ldae", ldae_encoder), ("untrained", untrained_encoder)):
        out = tmp_path / f"{system}.npz"
        embed(system, encoder, root / "ldae", root / "volumes", out, "cpu", 1, batch_size=3)
        scans, codes[system] = load_embeddings(out)
        assert scans == VolumeStore(root / "volumes").index["scan_id"].tolist()
    encoder, _, _ = load_ldae(root / "ldae", root / "ldm")
    with torch.inference_mode():
        expected = encoder(VolumeStore(root / "volumes").volumes(np.arange(10)))
    assert np.allclose(codes["ldae"], expected, atol=1e-4)
    assert codes["ldae"].shape == codes["untrained"].shape
    # standardized by statistics of the saved weights, over the training split
    assert np.abs(codes["ldae"][:6].mean(0)).max() < 1e-3
    variance = encoder.standardize.running_var.numpy()
    expected = (variance / (variance + encoder.standardize.eps)) ** 0.5
    assert np.allclose(codes["ldae"][:6].std(0, ddof=1), expected, rtol=1e-3)
    assert np.abs(codes["untrained"][:6].mean(0)).max() > 1e-2


def test_ldae_training_refuses_mismatched_inputs(chain, tmp_path):
    root, configs = chain
    card = load_card(root / "ldm")
    save_model(tmp_path / "ldm", load_state(root / "ldm"), card | {"latents_source": "mean"})
    write_training_scans(LatentStore(root / "latents"), tmp_path / "ldm")
    for folder, diffusion, message in (
        (tmp_path / "none", DIFFUSION, "no trained model"),
        (tmp_path / "ldm", DIFFUSION, "another kind"),
        (root / "ldm", DIFFUSION | {"timesteps": 500}, "diffusion"),
    ):
        given = inputs(root, "ldae") | {"ldm": str(folder)}
        wrong = settings(
            "ldae", configs["ldae"], tmp_path / "run", inputs=given, diffusion=diffusion
        )
        with pytest.raises(UserError, match=message):
            train(wrong, Processes())
