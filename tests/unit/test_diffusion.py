"""Diffusion schedule, DDIM and interpolation against closed forms and an exact denoiser."""

import math

import numpy as np
import pytest
import torch

from ldae.diffusion.ddim import ddim_decode, ddim_encode, ddim_timesteps
from ldae.diffusion.interpolation import lerp, slerp
from ldae.diffusion.schedule import Schedule

BETAS = np.linspace(1e-4, 2e-2, 1000)
AB = np.cumprod(1 - BETAS)
AB_PREV = np.concatenate([[1.0], AB[:-1]])
SHAPE = (8, 3, 8, 10, 8)


@pytest.fixture(scope="module")
def schedule() -> Schedule:
    return Schedule()


def noise(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def gaussian_eps(schedule: Schedule, variance: float):
    """The exact eps of data N(0, variance): E[eps | z_t] = sqrt(1-ab) z / (ab var + 1 - ab)."""

    def eps(z: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        ab = schedule.at(schedule.alphas_cumprod, t, z)
        return (1 - ab).sqrt() * z / (ab * variance + 1 - ab)

    return eps


def rmse(a: torch.Tensor, b: torch.Tensor) -> float:
    return (a - b).square().mean().sqrt().item()


def test_schedule_tables_are_float64_and_match_definitions(schedule):
    sigma = BETAS * (1 - AB_PREV) / (1 - AB)
    snr = AB / (1 - AB)
    expected = {
        "alphas_cumprod": AB,
        "posterior_variance": sigma,
        # As written in Eq. 9, before beta_t cancels.
        "guidance": np.sqrt(1 - BETAS) * np.sqrt(1 - AB) / BETAS * sigma,
        # As written in Eq. 10.
        "weights": (1 / (1 + snr)) ** 0.9 * (snr / (1 + snr)) ** 0.1,
    }
    for name, values in expected.items():
        table = getattr(schedule, name)
        assert table.dtype == torch.float64, name
        np.testing.assert_allclose(table.numpy(), values, rtol=1e-9, atol=1e-15, err_msg=name)


def test_schedule_coefficients_have_known_values(schedule):
    assert schedule.posterior_variance[0] == 0
    assert schedule.guidance[0] == 0
    assert schedule.weights[0].item() == pytest.approx(2.5e-4, rel=0.01)
    assert schedule.weights.argmax().item() == 475
    assert schedule.weights[475].item() == pytest.approx(0.722, abs=5e-4)
    assert schedule.weights[999].item() == pytest.approx(0.364, abs=5e-4)
    ratio = schedule.guidance / (1 - schedule.alphas_cumprod).sqrt()
    assert ratio[[1, 9, 99]].tolist() == pytest.approx([0.455, 0.853, 0.98], abs=2e-3)


def test_gamma_changes_schedule_weights():
    assert Schedule(gamma=0.0).weights[0].item() == pytest.approx(1e-4, rel=1e-6)
    assert Schedule(gamma=1.0).weights[0].item() == pytest.approx(1 - 1e-4, rel=1e-6)


def test_guidance_shifts_posterior_mean(schedule):
    """Eq. 8 = Eq. 9: moving the posterior mean by Sigma G is replacing eps by eps - c_t G."""
    t = torch.tensor([3, 250, 999])
    z, eps, g = (noise(seed, 3, 1, 4, 4, 4).double() for seed in range(3))

    def mean(eps: torch.Tensor) -> torch.Tensor:
        beta, ab = (schedule.at(x, t, z) for x in (schedule.betas, schedule.alphas_cumprod))
        return (z - beta / (1 - ab).sqrt() * eps) / (1 - beta).sqrt()

    shifted = mean(eps) + schedule.at(schedule.posterior_variance, t, z) * g
    torch.testing.assert_close(mean(schedule.guided_eps(eps, g, t)), shifted)


def test_guided_eps_modes(schedule):
    t = torch.tensor([0, 500])
    eps, g = torch.zeros(2, 1, 2, 2, 2), torch.ones(2, 1, 2, 2, 2)
    trained = schedule.guided_eps(eps, g, t)
    assert trained[0].abs().max() == 0
    assert trained[1].mean().item() == pytest.approx(-schedule.guidance[500].item(), rel=1e-6)
    other = schedule.guided_eps(eps, g, t, mode="sqrt_one_minus_ab")
    assert other[0].mean().item() == pytest.approx(-math.sqrt(1e-4), rel=1e-6)
    with pytest.raises(ValueError, match="guidance mode"):
        schedule.guided_eps(eps, g, t, mode="none")


def test_q_sample_keeps_unit_variance_and_follows_t_per_sample(schedule):
    z_0, eps = noise(0, *SHAPE), noise(1, *SHAPE)
    t = torch.arange(8) * 142
    z_t = schedule.q_sample(z_0, t, eps)
    ab = torch.from_numpy(AB)[t]
    item = (ab[3].sqrt() * z_0[3] + (1 - ab[3]).sqrt() * eps[3]).float()
    torch.testing.assert_close(z_t[3], item)
    assert z_t.std().item() == pytest.approx(1, abs=0.02)


def test_schedule_coefficients_are_not_rounded_to_bfloat16(schedule):
    eps = torch.zeros(1, 1, 1, 1, 1, dtype=torch.bfloat16)
    assert schedule.at(schedule.weights, torch.tensor([0]), eps).dtype == torch.float32


@pytest.mark.parametrize("steps", [1, 10, 20, 50, 100, 999])
def test_ddim_timesteps(schedule, steps):
    tau = ddim_timesteps(schedule, steps)
    assert tau == tuple(int(x) for x in np.linspace(0, 999, steps + 1))
    assert tau[0] == 0
    assert tau[-1] == 999


def test_ddim_timesteps_of_the_paper(schedule):
    assert ddim_timesteps(schedule, 10) == (0, 99, 199, 299, 399, 499, 599, 699, 799, 899, 999)
    assert ddim_timesteps(schedule, 100)[:4] == (0, 9, 19, 29)
    for steps in (0, 1000):
        with pytest.raises(ValueError, match="DDIM steps"):
            ddim_timesteps(schedule, steps)


@pytest.mark.parametrize("variance", [1.0, 0.25, 4.0])
def test_ddim_round_trip_with_exact_denoiser(schedule, variance):
    z_0 = noise(2, *SHAPE) * variance**0.5
    eps = gaussian_eps(schedule, variance)
    z_T = ddim_encode(eps, z_0, schedule, 100)
    assert z_T.std().item() == pytest.approx(1, abs=0.04)
    assert rmse(ddim_decode(eps, z_T, schedule, 100), z_0) < 0.06 * variance**0.5
    sample = ddim_decode(eps, noise(3, *SHAPE), schedule, 100)
    assert sample.std().item() == pytest.approx(variance**0.5, rel=0.04)


def test_each_refinement_reduces_ddim_inversion_error(schedule):
    z_0 = noise(2, *SHAPE)
    eps = gaussian_eps(schedule, 1.0)
    errors = [
        rmse(
            ddim_decode(eps, ddim_encode(eps, z_0, schedule, 100, refinements=n), schedule, 100),
            z_0,
        )
        for n in (0, 1, 2)
    ]
    assert errors[1] < errors[0] / 10
    assert errors[2] < errors[1] / 10


def test_ddim_calls_network_once_per_timestep(schedule):
    calls = []

    def eps(z: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        assert t.shape == (2,)
        assert t.dtype == torch.long
        calls.append(t[0].item())
        return torch.zeros_like(z)

    z = noise(0, 2, 1, 2, 2, 2)
    ddim_encode(eps, z, schedule, 10)
    assert calls == list(ddim_timesteps(schedule, 10)[:-1])
    calls.clear()
    ddim_decode(eps, z, schedule, 10)
    assert calls == list(ddim_timesteps(schedule, 10)[:0:-1])


def test_ddim_decode_keeps_latents_beyond_one_unless_clamped(schedule):
    z_0 = torch.full((1, 1, 4, 4, 4), 3.0)
    eps = gaussian_eps(schedule, 1.0)
    z_T = ddim_encode(eps, z_0, schedule, 100, refinements=2)
    assert ddim_decode(eps, z_T, schedule, 100).mean().item() == pytest.approx(3, abs=0.01)
    clamped = ddim_decode(eps, z_T, schedule, 100, clamp=1.0)
    # The last step adds noise of sqrt(1 - ab_0) = 0.01 to a prediction clamped to 1.
    assert clamped.mean().item() == pytest.approx(1, abs=0.05)


def test_lerp_per_sample():
    a, b = noise(0, 3, 5), noise(1, 3, 5)
    mixed = lerp(a, b, torch.tensor([0.0, 0.5, 1.0]))
    torch.testing.assert_close(mixed, torch.stack([a[0], (a[1] + b[1]) / 2, b[2]]))
    with pytest.raises(ValueError, match="differ in shape"):
        lerp(a, b[:2], 0.5)
    with pytest.raises(ValueError, match="one value per sample"):
        lerp(a, b, torch.tensor([0.5, 0.5]))


def test_slerp_has_one_angle_per_sample():
    a = noise(0, 4, 3, 4, 5, 4)
    b = noise(1, 4, 3, 4, 5, 4) + torch.tensor([0.0, 1.0, 3.0, -0.5]).view(-1, 1, 1, 1, 1) * a
    batch = slerp(a, b, 0.3)
    for i in range(4):
        torch.testing.assert_close(batch[i : i + 1], slerp(a[i : i + 1], b[i : i + 1], 0.3))
        x, y = a[i].flatten().double(), b[i].flatten().double()
        theta = math.acos((x @ y / (x.norm() * y.norm())).item())
        expected = (math.sin(0.7 * theta) * x + math.sin(0.3 * theta) * y) / math.sin(theta)
        torch.testing.assert_close(batch[i].flatten(), expected.float())
    torch.testing.assert_close(slerp(a, b, torch.tensor([0.0, 1.0, 0.0, 1.0]))[1], b[1])


def test_slerp_keeps_the_norm():
    a, b = noise(0, 4, 100), noise(1, 4, 100)
    b = b * a.norm(dim=1, keepdim=True) / b.norm(dim=1, keepdim=True)
    for t in (0.1, 0.5, 0.9):
        torch.testing.assert_close(slerp(a, b, t).norm(dim=1), a.norm(dim=1))
        assert (lerp(a, b, 0.5).norm(dim=1) < 0.9 * a.norm(dim=1)).all()


def test_slerp_is_finite_for_equal_codes_and_refuses_opposite_ones():
    a = noise(0, 3, 50)
    b = torch.stack([a[0], a[1] * (1 + 1e-7), torch.zeros(50)])
    mixed = slerp(a, b, 0.5)
    assert mixed.isfinite().all()
    torch.testing.assert_close(mixed[:2], a[:2])
    torch.testing.assert_close(mixed[2], a[2] / 2)
    with pytest.raises(ValueError, match="opposite"):
        slerp(a, -a, 0.5)
