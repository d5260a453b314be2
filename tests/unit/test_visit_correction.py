"""Corrected averages of visits: the population's change, planted truths, choice on validation."""

import logging

import numpy as np
import pandas as pd
import pytest
import torch

from helpers.models import CFG
from ldae.diffusion.partial import up_to
from ldae.diffusion.schedule import Schedule
from ldae.diffusion.solvers import SOLVERS
from ldae.evaluation import visit_correction
from ldae.evaluation.ageing import Ageing, measure_ageing, slope_weights
from ldae.evaluation.correction import (
    NONE,
    Correction,
    corrected_images,
    forecast_averages,
    missing_averages,
)
from ldae.evaluation.correction_choice import candidates, choose, simplest_of_the_best
from ldae.evaluation.extrapolation import visits_so_far
from ldae.evaluation.longitudinal import VisitCodes, Visits

AUTO = {"strength": "auto", "own_line": "auto", "from_step": "auto"}


class LinearSystem:
    """A system whose decoder adds to the latent what the code has moved: exact, without networks.

    A code is one number, which the latent holds in its first element; the image is the latent.
    """

    compute = type("", (), {"move": staticmethod(lambda x: x)})
    along = torch.tensor([1.0, 0.0, 0.0, 0.0]).reshape(1, 1, 2, 2, 1) / 10

    def up_to_step(self, last):
        return self

    def encode_zT(self, z, y, steps):
        return z - y.reshape(-1, 1, 1, 1, 1) * self.along

    def decode(self, z_t, y, steps):
        return z_t + y.reshape(-1, 1, 1, 1, 1) * self.along

    def image(self, z):
        return z

    def y_sem(self, image):
        return 10 * image[:, 0, 0, 0, 0, None]


class PlantedVisits(Visits):
    """Visits of people whose latents follow a line of their own, with noise beside it."""

    def __init__(self, rates: np.ndarray, noise: float, months=(0, 12, 36)):
        rng = np.random.default_rng(0)
        rows = [(f"sub-{i:02d}", month) for i in range(len(rates)) for month in months]
        self.visits = pd.DataFrame(rows, columns=["participant_id", "months"])
        years = torch.tensor(self.visits["months"].to_numpy() / 12).float()
        rate = torch.from_numpy(np.repeat(rates, len(months))).float()
        self.y = (rate * years)[:, None] + noise * torch.from_numpy(rng.normal(size=(len(rows), 1)))
        self.y = self.y.float()
        self.system, self.steps = LinearSystem(), 3
        self.z_0 = 0.4 + (rate * years).reshape(-1, 1, 1, 1, 1) * LinearSystem.along
        self.decoded = self.z_0

    def compare(self, targets, image):
        error = ((image - self.z_0[targets]) ** 2).flatten(1).mean(1)
        return {"ssim": (1 - error).numpy()}

    def forecasts(self, ageing: Ageing):
        targets = self.visits.index[self.visits["months"] == 36].tolist()
        return forecast_averages(self, [visits_so_far(self, t) for t in targets], targets, ageing)


def population(rate: float) -> Ageing:
    return Ageing(torch.tensor([rate]), rate * LinearSystem.along[0], 9)


def test_slope_is_within_participants():
    months, people = [0, 12, 36, 0, 24, 6], list("aaabbc")
    level = {"a": 5.0, "b": -40.0, "c": 1000.0}
    values = np.array([level[p] + 3 * m / 12 for m, p in zip(months, people, strict=True)])
    weights = slope_weights(months, people)
    assert weights @ values == pytest.approx(3)
    assert weights[-1] == 0  # one visit tells nothing
    assert not slope_weights([12, 12]).any()
    assert slope_weights([0, 6, 24]) @ [1, 2, 5] == pytest.approx(
        np.polyfit([0, 0.5, 2], [1, 2, 5], 1)[0]
    )


def test_ageing_is_of_training_people_alone(system, project, monkeypatch, caplog):
    stores = (project / "latents", project / "ldae.npz")
    with caplog.at_level(logging.WARNING):
        unknown = measure_ageing(system, *stores)
    assert unknown.subjects == 0 and not unknown.y.any() and not unknown.z.any()
    assert "No training participant" in caplog.text
    # The project's people with three visits, as if they were training people.
    store = system.latent_store(project / "latents")
    asked = []
    rows = store.rows("test")
    monkeypatch.setattr(type(store), "rows", lambda self, split: asked.append(split) or rows)
    found = measure_ageing(system, *stores)
    assert asked[-1] == "train" and found.subjects == 6
    visits = store.index.loc[rows]
    people = [store.latents(part.index.to_numpy()) for _, part in visits.groupby("participant_id")]
    expected = torch.stack([(z[2] - z[0]) / 2 for z in people]).mean(0)
    torch.testing.assert_close(found.z, expected)


@pytest.mark.parametrize("name", ["ddim", "multistep", "midpoint"])
def test_partial_inversion_returns_under_the_same_code(name):
    whole = Schedule()
    part = up_to(whole, 600)
    assert part.timesteps == 601 and part.level(600) == whole.level(600)
    assert whole.timesteps == 1000
    seen = []

    def eps(z, t):
        seen.append(int(t.max()))
        return 0.3 * z

    z_0 = torch.randn(2, 3, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    z_t = SOLVERS[name].encode(eps, z_0, part, 40)
    back = SOLVERS[name].decode(eps, z_t, part, 40)
    torch.testing.assert_close(back, z_0, atol=0.05, rtol=0.05)
    assert max(seen) <= 600
    for last in (0, 1000):
        with pytest.raises(ValueError, match="last step"):
            up_to(whole, last)


def test_forecast_is_exact_where_the_course_is_linear():
    visits = PlantedVisits(np.array([1.0, 0.0, -2.0]), noise=0)
    averages = visits.forecasts(population(5.0))
    none, own, half = corrected_images(
        visits.system, averages, [NONE, Correction(1, 1, 600), Correction(1, 0.5, 600)], 3
    )
    torch.testing.assert_close(own, visits.z_0[averages.targets])
    torch.testing.assert_close(none, averages.z)
    # Half of the own line, half of the population's 5 a year, over the 2.5 years from the mean.
    moved = torch.tensor([3.0, 2.5, 1.5]).reshape(-1, 1, 1, 1, 1) * 2.5 * LinearSystem.along
    torch.testing.assert_close(half, averages.z + moved)


def test_forecast_of_one_visit_follows_the_population():
    visits = PlantedVisits(np.array([5.0, 5.0]), noise=0, months=(0, 36))
    averages = visits.forecasts(population(5.0))
    images = corrected_images(visits.system, averages, [Correction(1, 1, 600)], 3)
    torch.testing.assert_close(images[0], visits.z_0[averages.targets])


def test_missing_visit_is_moved_to_the_lerp_of_the_codes():
    visits = PlantedVisits(np.array([1.0, 3.0]), noise=0)
    visits.y = visits.y + 2.0  # codes of single visits hold more than that of the average
    averages = missing_averages(visits, [0, 3], [2, 5], torch.tensor([1 / 3, 1 / 3]), [1, 4])
    torch.testing.assert_close(averages.z, visits.z_0[[1, 4]])
    offset = averages.population - averages.population.mean()
    torch.testing.assert_close(offset, torch.zeros(2, 1), atol=1e-5, rtol=0)
    images = corrected_images(visits.system, averages, [Correction(0.5, 0, 600)], 3)
    assert not torch.allclose(images[0], averages.z)


def test_choice_corrects_what_is_known_and_leaves_noise():
    rates = np.linspace(0.8, 1.2, 12)
    true = PlantedVisits(rates, noise=0.0)
    chosen, table = choose("extrapolation", true, [true.forecasts(population(1.0))], AUTO, 999)
    assert (chosen.strength, chosen.from_step) == (1, 599)
    assert table["chosen"].sum() == 1 and (table["n_subjects"] == 12).all()
    assert table.loc[table["chosen"], "difference"].item() > 0
    still = PlantedVisits(np.zeros(12), noise=1.0)
    averages = still.forecasts(population(0.0))
    for own in ("auto", 1):
        settings = AUTO | {"own_line": own}
        assert choose("extrapolation", still, [averages], settings, 999)[0] == NONE


def test_choice_takes_the_simplest_within_one_standard_error():
    uncorrected = np.zeros(4)
    gains = np.array([[0, 0, 0, 0], [1, 1, 1, 1], [0, 2, 0, 2.4], [2, 2, 2, 2.0]])
    assert simplest_of_the_best(gains, uncorrected) == 3
    assert simplest_of_the_best(gains[:3], uncorrected) == 1  # 1.1 ± 0.64 is no better than 1
    assert simplest_of_the_best(np.array([[0, 0], [-1, 3.0]]), uncorrected[:2]) == 0
    assert simplest_of_the_best(np.array([[0.0], [9.0]]), uncorrected[:1]) == 0


def test_settings_of_a_correction():
    found = candidates("extrapolation", AUTO, 999)
    assert found[0] == NONE and len(found) == 1 + 3 * 2 * 2
    found = candidates("interpolation", AUTO, 999)
    assert {one.own_line for one in found} == {0}
    assert {one.from_step for one in found if one.strength} == {200, 300}
    fixed = {"strength": 2, "own_line": 0.1, "from_step": 5000}
    assert candidates("extrapolation", fixed, 999) == [Correction(2, 0.1, 999)]
    assert candidates("extrapolation", fixed | {"strength": 0}, 999) == [NONE]
    chosen, table = choose("extrapolation", None, [], fixed, 999)
    assert chosen == Correction(2, 0.1, 999) and table["chosen"].tolist() == [True]


def test_corrections_are_chosen_on_validation_people(system, project, monkeypatch, caplog):
    store = system.volume_store(project / "volumes")
    ageing = measure_ageing(system, project / "latents", project / "ldae.npz")
    given = (project / "ldae.npz", ageing, CFG["interpolation"], 8)
    with caplog.at_level(logging.WARNING):
        found = visit_correction.choose_corrections(system, store, *given)
    assert found[:2] == (NONE, NONE) and "no validation participant" in caplog.text
    asked, used = [], []
    rows = store.rows("test")[:9]
    monkeypatch.setattr(store, "rows", lambda split: asked.append(split) or rows)

    class Spied(Visits):
        def __init__(self, *inputs):
            super().__init__(*inputs)
            used.extend(self.visits["scan_id"])

    monkeypatch.setattr(visit_correction, "Visits", Spied)
    table = visit_correction.choose_corrections(system, store, *given).table
    assert asked == ["val"] and used == store.index.loc[rows, "scan_id"].tolist()
    assert (table["n_subjects"] == 3).all() and table.groupby("study")["chosen"].sum().eq(1).all()


def test_correction_without_a_move_returns_the_average(system, project):
    store = system.volume_store(project / "volumes")
    visits = store.index[store.index["participant_id"] == "sub-01"]
    exact = system.with_solver("midpoint")
    codes = VisitCodes(exact, store, project / "ldae.npz", visits, 4, 8)
    still = Ageing(torch.zeros_like(codes.y[0]), torch.zeros_like(codes.z_0[0]), 0)
    averages = forecast_averages(codes, [[0, 1]], [2], still)
    tried = [NONE, Correction(1, 0, 300), Correction(1, 0, 999)]
    none, *same = corrected_images(exact, averages, tried, 4)
    for image in same:
        torch.testing.assert_close(image, none, atol=1e-3, rtol=0)
    moved = corrected_images(exact, averages, [Correction(1, 1, 999)], 4)[0]
    assert not torch.allclose(moved, none, atol=1e-3)


def test_correction_from_a_step_below_the_number_of_steps_takes_each_once(system, project):
    store = system.volume_store(project / "volumes")
    visits = store.index[store.index["participant_id"] == "sub-01"]
    codes = Visits(system, store, project / "ldae.npz", visits, 4, 8)
    averages = forecast_averages(
        codes, [[0, 1]], [2], measure_ageing(system, project / "latents", project / "ldae.npz")
    )
    for solver in SOLVERS:
        low, same = (
            corrected_images(system.with_solver(solver), averages, [Correction(2, 1, 3)], steps)[0]
            for steps in (4, 3)
        )
        assert torch.equal(low, same)
