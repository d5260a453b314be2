"""Store of stochastic codes: planned once, inverted by shards, read by every experiment."""

import numpy as np
import pytest
import torch

from helpers.models import CFG as FULL
from ldae.diffusion.solvers import SOLVERS
from ldae.errors import UserError
from ldae.evaluation import interpolation, reconstruction
from ldae.evaluation.ageing import measure_ageing
from ldae.evaluation.correction import NONE, Correction, correction_calls
from ldae.evaluation.inversion_plan import inversion_calls, planned_inversions
from ldae.evaluation.longitudinal import VisitCodes, interpolation_calls
from ldae.evaluation.visit_correction import choose_corrections
from ldae.files import read_json, read_table
from ldae.inference.code_store import CodeStore, Inversion
from ldae.inference.codes import invert_shard
from ldae.inference.ldae_system import LdaeSystem
from ldae.inference.shared_estimate import SharedEstimate
from ldae.nets.gradient_estimator import GuidedUNet

CFG = FULL | {
    "ddim_steps": [2],
    "max_scans": 4,
    "interpolation": FULL["interpolation"] | {"subjects": 2},
    "solver_study": FULL["solver_study"]
    | {"solvers": ["ddim", "midpoint"], "ddim_steps": [2], "max_scans": 2, "subjects": 1},
}
SUBJECTS = {"CN": None, "AD": None}


@pytest.fixture(scope="module")
def plan(system, project) -> dict[Inversion, list[str]]:
    store = system.volume_store(project / "volumes")
    return planned_inversions(store.index.loc[store.rows("test")], CFG, SUBJECTS, None)


@pytest.fixture(scope="module")
def cards(system, project, plan, tmp_path_factory) -> list:
    folder = tmp_path_factory.mktemp("codes") / "shards"
    paths = [folder / f"shard-{n}.json" for n in range(2)]
    made = [shard(system, project, plan, path, n) for n, path in enumerate(paths)]
    assert sum(made) == sum(map(len, plan.values())) and min(made) > 0
    return paths


def shard(system, project, plan, path, number) -> int:
    inputs = (system, project / "volumes", project / "ldae.npz", plan, path)
    return invert_shard(*inputs, (number, 2), 5, "code")


@pytest.fixture
def calls(monkeypatch) -> list[int]:
    """Scans in each call of the frozen network, and of it alone."""
    counted: list[int] = []
    frozen = GuidedUNet.frozen

    def counting(net, z_t, t):
        counted.append(len(z_t))
        return frozen(net, z_t, t)

    monkeypatch.setattr(GuidedUNet, "frozen", counting)
    return counted


def test_plan_names_every_inversion_once(plan):
    manipulation, between = CFG["manipulation"], CFG["interpolation"]
    assert manipulation["ddim_steps"] == between["ddim_steps"] == 3
    shared = plan[Inversion("ddim", 3, True)]  # of manipulation, interpolation and examples
    assert shared == sorted(set(shared))
    assert set(plan[Inversion("ddim", 2, False)]) <= set(plan[Inversion("ddim", 2, True)])
    assert {inversion.solver for inversion in plan} == {"ddim", "midpoint"}
    assert inversion_calls(plan) == sum(
        len(scans) * inversion.steps for inversion, scans in plan.items()
    )


def test_experiments_read_their_codes_and_give_the_same(
    system, project, cards, tmp_path, monkeypatch
):
    def experiments(own, folder):
        folder.mkdir()
        inputs = (own, project / "volumes")
        reconstruction.evaluate_reconstruction(
            *inputs, folder / "rec.tsv", CFG, 0, project / "ldae.npz"
        )
        names = ("triplets", "table", "differences", "correction")
        names += tuple(f"extrapolation{end}" for end in ("_triplets", "", "_differences"))
        outputs = {name: folder / f"{name}.tsv" for name in names}
        outputs["example"] = folder / "example.npz"
        stores = (project / "ldae.npz", project / "latents")
        interpolation.evaluate_interpolation(*inputs, *stores, outputs, CFG, None, 0)
        return [read_table(folder / f"{name}.tsv") for name in ("rec", "triplets")]

    made = experiments(system, tmp_path / "made")

    def refuse(*args):
        raise AssertionError("a stored scan was inverted again")

    monkeypatch.setattr(LdaeSystem, "encode_zT", refuse)
    read = experiments(system.with_codes(CodeStore(cards)), tmp_path / "read")
    for one, other in zip(made, read, strict=True):
        assert list(one) == list(other)
        numbers = one.select_dtypes("number").columns
        # Other scans in a batch round otherwise.
        np.testing.assert_allclose(one[numbers], other[numbers], rtol=1e-3, atol=1e-4)


def test_killed_shard_continues_and_changed_codes_are_refused(
    system, project, plan, cards, tmp_path
):
    before, store = read_json(cards[0]), CodeStore(cards)
    key = Inversion("ddim", 3, True)
    scan = next(iter(before["codes"][key.key]))
    file = store.files[key.key, scan][0]
    file.unlink()
    with pytest.raises(UserError, match=r"missing or damaged.*--forcerun code_shard"):
        store.read(key, [scan])
    assert 0 < shard(system, project, plan, cards[0], 0) <= 5  # its batch alone
    assert read_json(cards[0]) == before
    assert store.read(key, ["another scan"]) is None
    np.save(file, np.zeros(3))
    with pytest.raises(UserError, match="damaged"):
        store.read(key, [scan])
    assert 0 < shard(system, project, plan, cards[0], 0) <= 5  # the remedy that the error names
    assert read_json(cards[0]) == before and store.read(key, [scan]) is not None
    system.with_codes(store).volume_store(project / "volumes")
    store.cards[0]["volumes"] = "others"
    with pytest.raises(UserError, match="other volumes"):
        system.with_codes(store).volume_store(project / "volumes")
    store.cards[0]["models"] = "others"
    with pytest.raises(UserError, match="other models"):
        system.with_codes(store)


@pytest.mark.parametrize("solver", ["ddim", "multistep", "midpoint"])
def test_frozen_part_is_shared_by_all_codes_of_one_z_t(system, solver, calls):
    system = system.with_solver(solver)
    torch.manual_seed(0)
    noise = torch.randn(2, *system.latent_shape(system.volume_shape))
    y = [torch.randn(2, int(system.encoder.dim)) for _ in range(3)]
    alone = [system.decode(noise, code, 3) for code in y]
    separate, shared = len(calls), SharedEstimate()
    together = [system.decode(noise, code, 3, shared) for code in y]
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))
    assert len(calls) - separate == separate - 2  # first calls of the second and the third


def test_calls_of_the_interpolation_study_are_those_that_are_made(system, project, calls):
    store = system.volume_store(project / "volumes")
    visits = store.index[store.index["participant_id"] == "sub-01"]
    codes = VisitCodes(system, store, project / "ldae.npz", visits, 3, 8)
    rows = codes.visits
    triplets = interpolation.triplets(rows["months"].tolist())
    for method, _ in interpolation.predictions(codes, triplets):
        assert method in interpolation.METHODS
    expected = interpolation_calls(len(rows), len(triplets), "ddim", 3)
    assert sum(calls) == expected.total == 3 * (len(rows) + len(triplets))


@pytest.mark.parametrize("solver", SOLVERS)
def test_calls_of_corrections_are_those_that_are_made(system, project, calls, monkeypatch, solver):
    system = system.with_solver(solver)
    store = system.volume_store(project / "volumes")
    visits = store.index[store.index["participant_id"] == "sub-01"]
    codes = VisitCodes(system, store, project / "ldae.npz", visits, 3, 8)
    triplets, corrected = interpolation.triplets([0, 12, 24]), Correction(1.0, 0.0, 2)
    for _ in interpolation.predictions(codes, triplets, corrected):
        pass
    each = correction_calls([corrected], solver, 3)
    assert correction_calls([NONE], solver, 3) == 0
    expected = interpolation_calls(len(visits), len(triplets), solver, 3, corrected=each)
    assert sum(calls) == expected.total and "for corrected averages" in expected.described
    calls.clear()
    ageing = measure_ageing(system, project / "latents", project / "ldae.npz")
    monkeypatch.setattr(store, "rows", lambda split: visits["row"].to_numpy())
    settings = CFG["interpolation"] | {"correction": dict.fromkeys(Correction._fields, "auto")}
    chosen = choose_corrections(system, store, project / "ldae.npz", ageing, settings, 8)
    assert sum(calls) == chosen.calls(solver, settings["ddim_steps"])
    if solver == "ddim":  # 2 inversions and 12 decodings of a next visit, 2 and 4 of a missing one
        assert sum(calls) == 20 * settings["ddim_steps"]


def test_study_of_the_paper_stays_within_25_000_calls():
    """30 participants with 8 visits (one with fewer) give some 1,400 triplets."""
    planned = interpolation_calls(25 * 8, 25 * 56, "multistep", 10)
    assert 25 * 56 == 1400 and planned.total == 16_000 <= 25_000
    assert planned.anew == 420_000
    assert interpolation_calls(25 * 8, 25 * 56, "ddim", 100).total == 160_000  # by default
