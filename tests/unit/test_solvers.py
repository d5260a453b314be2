"""Solvers of the diffusion ODE against a flow that is known in closed form."""

import math
from itertools import pairwise

import pytest
import torch

from ldae.diffusion.ddim import ddim_decode, ddim_encode, ddim_timesteps
from ldae.diffusion.schedule import Schedule
from ldae.diffusion.solvers import SOLVERS, find_solver
from ldae.diffusion.spacing import timesteps
from ldae.errors import UserError

MEAN, VARIANCE = 0.7, 0.3
SHAPE = (2, 3, 6, 6, 6)


@pytest.fixture(scope="module")
def schedule() -> Schedule:
    return Schedule()


def gaussian_eps(schedule: Schedule):
    """The exact noise estimate of data N(MEAN, VARIANCE), in float64."""

    def eps(z: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        z = z.double()
        ab = schedule.at(schedule.alphas_cumprod, t, z)
        return (1 - ab).sqrt() * (z - ab.sqrt() * MEAN) / (ab * VARIANCE + 1 - ab)

    return eps


def two_modes_eps(schedule: Schedule):
    """The exact noise estimate of data at -1 and 1: not linear in z."""

    def eps(z: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        ab = schedule.at(schedule.alphas_cumprod, t, z)
        expected = torch.tanh(ab.sqrt() * z / (1 - ab))
        return (z - ab.sqrt() * expected) / (1 - ab).sqrt()

    return eps


def draw(seed: int = 0) -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


def flow(schedule: Schedule, z: torch.Tensor, start: int, end: int) -> torch.Tensor:
    """The exact solution of the ODE for :func:`gaussian_eps`: the number of SDs is kept."""
    (a, s), (b, u) = schedule.level(start), schedule.level(end)
    deviation = (z.double() - a * MEAN) / math.sqrt(a**2 * VARIANCE + s**2)
    return b * MEAN + deviation * math.sqrt(b**2 * VARIANCE + u**2)


def rmse(a: torch.Tensor, b: torch.Tensor) -> float:
    return (a.double() - b.double()).square().mean().sqrt().item()


def errors(name: str, schedule: Schedule, steps: int) -> tuple[float, float]:
    """Errors of the code, and of the latent generated from noise."""
    solver, eps = find_solver(name), gaussian_eps(schedule)
    z_0 = MEAN + math.sqrt(VARIANCE) * draw()
    z_T = flow(schedule, z_0, 0, 999)
    code = solver.encode(eps, z_0, schedule, steps)[:, : SHAPE[1]]
    return rmse(code, z_T), rmse(solver.sample(eps, z_T, schedule, steps), z_0)


@pytest.mark.parametrize(
    ("name", "order"),
    [("ddim", 1), ("ddim_refined", 1), ("multistep", 2), ("angle", 2), ("midpoint", 2)],
)
def test_solver_converges_at_its_order(schedule, name, order):
    """Over a factor of four in the number of steps."""
    coarse, fine = errors(name, schedule, 40), errors(name, schedule, 160)
    encoded = math.log(coarse[0] / fine[0]) / math.log(4)
    sampled = math.log(coarse[1] / fine[1]) / math.log(4)
    assert encoded == pytest.approx(order, abs=0.3)
    assert sampled > order - 0.3


@pytest.mark.parametrize(("steps", "ratio"), [(5, 0.55), (10, 0.45), (20, 0.25)])
def test_multistep_error_is_below_ddims_at_few_steps(schedule, steps, ratio):
    """Its second-order start counts there: with a first-order one it is above DDIM's at five."""
    ddim, multistep = errors("ddim", schedule, steps), errors("multistep", schedule, steps)
    assert multistep[0] < ratio * ddim[0]
    assert multistep[1] < ratio * ddim[1]


@pytest.mark.parametrize("steps", [4, 5, 7])
def test_angle_error_is_far_below_that_of_the_others_at_fewest_steps(schedule, steps):
    angle, multistep = errors("angle", schedule, steps), errors("multistep", schedule, steps)
    ddim = errors("ddim", schedule, steps)
    assert angle[0] < ddim[0] / 8
    assert angle[1] < ddim[1] / 3
    assert angle[0] < multistep[0] / 2
    assert angle[1] < multistep[1] / 2


def test_angle_is_for_networks_that_predict_the_velocity(schedule):
    """A small error of the network, larger by 1/alpha in z_0 where it is one of eps."""
    eps, wrong, noise = gaussian_eps(schedule), 0.03 * draw(1), draw()

    def error(name, of_velocity):
        def network(z, t):
            part = schedule.level(int(t[0]))[0] if of_velocity else 1.0
            return (eps(z, t) + part * math.cos(int(t[0]) / 80) * wrong).float()

        exact = SOLVERS["ddim"].decode(network, noise, schedule, 999)
        return rmse(SOLVERS[name].decode(network, noise, schedule, 10), exact)

    assert error("angle", True) < error("multistep", True) / 2
    assert error("angle", False) > 2 * error("multistep", False)


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 10, 50])
def test_midpoint_decoding_retraces_encoding(schedule, steps):
    eps, z_0 = two_modes_eps(schedule), 0.8 * draw()
    solver = find_solver("midpoint")
    code = solver.encode(eps, z_0, schedule, steps)
    assert code.shape == (2, 6, 6, 6, 6)
    assert code.dtype == torch.float64
    assert rmse(solver.decode(eps, code, schedule, steps), z_0) < 1e-4


def test_multistep_round_trip_error_is_a_tenth_of_ddims_at_ten_steps(schedule):
    eps, z_0 = gaussian_eps(schedule), MEAN + math.sqrt(VARIANCE) * draw()
    ddim, multistep = (
        rmse(solver.decode(eps, solver.encode(eps, z_0, schedule, 10), schedule, 10), z_0)
        for solver in (SOLVERS["ddim"], SOLVERS["multistep"])
    )
    assert multistep < ddim / 10


def test_ddim_solver_is_the_papers_bit_for_bit(schedule):
    eps, z_0 = two_modes_eps(schedule), draw()
    code = SOLVERS["ddim"].encode(eps, z_0, schedule, 7)
    assert torch.equal(code, ddim_encode(eps, z_0, schedule, 7))
    assert torch.equal(
        SOLVERS["ddim"].decode(eps, code, schedule, 7), ddim_decode(eps, code, schedule, 7)
    )


@pytest.mark.parametrize(
    ("name", "encoding", "decoding", "sampling"),
    [
        ("ddim", 6, 6, 6),
        ("ddim_refined", 12, 6, 6),
        ("multistep", 6, 6, 6),
        ("angle", 6, 6, 6),
        ("midpoint", 6, 5, 6),
    ],
)
def test_solver_calls_the_network_as_often_as_stated(schedule, name, encoding, decoding, sampling):
    calls = []

    def eps(z: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        assert (z.dtype, t.dtype, t.shape) == (torch.float32, torch.long, (2,))
        calls.append(t[0].item())
        return torch.zeros_like(z)

    solver = find_solver(name)
    code = solver.encode(eps, draw(), schedule, 6)
    assert len(calls) == encoding
    assert solver.calls(6) == (encoding, decoding)
    calls.clear()
    assert solver.decode(eps, code, schedule, 6).dtype == torch.float32
    assert len(calls) == decoding
    calls.clear()
    solver.sample(eps, draw(), schedule, 6)
    assert len(calls) == sampling


@pytest.mark.parametrize("spacing", ["t", "log_snr", "angle", "quadratic"])
@pytest.mark.parametrize("steps", [1, 2, 10, 100, 998, 999])
def test_timesteps_increase_from_first_to_last(schedule, spacing, steps):
    tau = timesteps(schedule, steps, spacing)
    assert (tau[0], tau[-1], len(tau)) == (0, 999, steps + 1)
    assert all(a < b for a, b in pairwise(tau))


def test_timesteps_are_even_in_their_variable(schedule):
    assert timesteps(schedule, 10, "t") == ddim_timesteps(schedule, 10)
    assert timesteps(schedule, 10, "quadratic")[:4] == (0, 10, 40, 90)
    log_snr = schedule.snr.log()[list(timesteps(schedule, 10, "log_snr"))]
    widths = (log_snr[:-1] - log_snr[1:])[1:]  # the first steps of the table are wider than even
    assert widths.max() < 1.15 * widths.min()
    tau = torch.tensor(timesteps(schedule, 10, "angle"))
    phi, noise = schedule.snr.rsqrt().atan(), -schedule.snr.log()
    mixed = 0.85 * phi / (phi[-1] - phi[0]) + 0.15 * noise / (noise[-1] - noise[0])
    widths = mixed[tau].diff()
    assert widths.max() < 1.15 * widths.min()


def test_unknown_solver_spacing_and_number_of_steps_are_refused(schedule):
    with pytest.raises(UserError, match="ddim, ddim_refined, multistep, angle, midpoint"):
        find_solver("euler")
    with pytest.raises(ValueError, match="spacing is t, log_snr, angle or quadratic"):
        timesteps(schedule, 10, "even")
    for solver in SOLVERS.values():
        with pytest.raises(ValueError, match="must be within"):
            solver.encode(gaussian_eps(schedule), draw(), schedule, 1000)
