"""Noise from which y_sem alone is decoded: kinds, and averages of several draws."""

import pytest
import torch

from helpers.models import DIM
from ldae.inference.ldae_system import LdaeSystem
from ldae.inference.start_noise import StartNoise
from ldae.seeds import fixed_noise

SCANS, SHAPE = ["sub-1_ses-1", "sub-2_ses-1"], (3, 8, 8, 8)


def test_noise_of_scans_is_the_papers_one_draw_each():
    (drawn,) = StartNoise(7).tensors(SCANS, SHAPE)
    assert torch.equal(drawn, fixed_noise(SCANS, SHAPE, 7))
    assert not torch.equal(drawn[0], drawn[1])
    first, second = StartNoise(7, draws=2).tensors(SCANS, SHAPE)
    assert torch.equal(first, drawn)
    assert not torch.equal(second, drawn)


def test_shared_noise_is_one_for_all_scans_of_all_batches():
    (both,) = StartNoise(7, "shared").tensors(SCANS, SHAPE)
    (other,) = StartNoise(7, "shared").tensors(["sub-3_ses-1"], SHAPE)
    assert torch.equal(both[0], both[1])
    assert torch.equal(both[0], other[0])
    assert both.std() == pytest.approx(1, abs=0.1)


def test_zero_noise_is_zero():
    (none,) = StartNoise(7, "zero").tensors(SCANS, SHAPE)
    assert none.shape == (2, *SHAPE)
    assert not none.any()


@pytest.mark.parametrize("noise", [StartNoise(7, draws=2), StartNoise(7, "zero")])
def test_y_sem_is_decoded_to_the_image_of_the_mean_latent(system: LdaeSystem, noise):
    x = torch.rand(2, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    codes = {
        name: torch.randn(2, DIM, generator=torch.Generator().manual_seed(number))
        for number, name in enumerate(("y_sem", "wrong_y_sem"))
    }
    made = list(system.reconstructions(x, codes, SCANS, [3], noise))
    for name, y in codes.items():
        (image,) = [one.image for one in made if (one.system, one.variant) == ("ldae", name)]
        latents = [system.decode(z_T, y, 3) for z_T in noise.tensors(SCANS, SHAPE)]
        expected = system.image(sum(latents) / len(latents))
        torch.testing.assert_close(image, expected, rtol=0, atol=1e-5)
    timed = system.runs(x[:1], SCANS[0], 3, noise)["ldae", "y_sem"]()
    latents = [
        system.decode(z_T, system.y_sem(x[:1]), 3) for z_T in noise.tensors(SCANS[:1], SHAPE)
    ]
    expected = system.image(sum(latents) / len(latents))
    torch.testing.assert_close(timed, expected, rtol=0, atol=1e-5)
