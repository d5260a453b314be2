"""Explorer of one head of your own (``ldae apply --page``): moved, reconstructed, other noise."""

from pathlib import Path

import numpy as np

from ldae.application.bundle import Bundle
from ldae.application.commands import read_volume
from ldae.application.manipulated import Strength
from ldae.application.raw_head import PAGE, PreparedHead
from ldae.evaluation.metrics.volumes import Regions
from ldae.explorer.batching import Task, run_together
from ldae.explorer.build import CAUTION, TOLERANCES, rounding
from ldae.explorer.page import MEGABYTE, grid, measures, overhead, write_page
from ldae.explorer.readings import Reader, plain
from ldae.explorer.series import (
    CodedScan,
    Person,
    add_manipulation,
    add_reconstruction,
    add_variations,
)
from ldae.explorer.stack_coding import encode_within

STEPS_IN_SD = np.linspace(-2, 2, 11)  # of the training codes' logit
SAMPLES = 3  # codes drawn as noise
NOISE_SEED = 1
BATCH = 4  # volumes decoded at a time
MEGABYTES = 12.0  # of the page at most


def write_head_page(bundle: Bundle, head: PreparedHead, out: Path, steps: int) -> Path:
    """Write ``explore.html`` of a raw head below ``out``.

    Args:
        bundle, head, out, steps: As in :func:`ldae.application.raw_head.apply`.

    Returns:
        Path of the page.
    """
    x, affine = read_volume(head.files.registered_brain, bundle.settings["volumes"])
    system, direction = bundle.system, bundle.direction()
    regions = Regions.on(affine, tuple(x.shape[2:]), system.compute.device)
    reader = Reader(system, direction, bundle.age(), regions, BATCH)
    person = Person(reader, CodedScan.of(system, head.name, x))
    solver = bundle.settings["solver"]
    settings = {"mode": bundle.settings["mode"], "solver": solver, "ddim_steps": steps}
    alphas = [Strength(float(sd), in_sd=True).alpha(direction, bundle) for sd in STEPS_IN_SD]
    labels = [
        f"{alpha:+.2g} ({sd:+.1f} SD)" if alpha else "0"
        for alpha, sd in zip(alphas, STEPS_IN_SD, strict=True)
    ]

    def series() -> Task:
        logits = bundle.training.logit_range
        yield from add_manipulation(person, alphas, settings, logits, labels)
        yield from add_reconstruction(person, {"solver": solver, "ddim_steps": [steps]})
        yield from add_variations(person, SAMPLES, settings, NOISE_SEED)

    run_together(system, [series()], BATCH)
    novelty = bundle.training.novelty(person.scan.y.cpu().numpy())
    described = {
        "scan": head.name,
        "diagnosis": None,
        "series": [series.content() for series in person.series],
        "truth": None,
        "trail": None,
    }
    content = {
        "grid": grid(affine),
        "classes": list(direction.classes),
        "measures": measures(direction.classes[1]),
        "people": [described],
        "bands": None,
        "map": None,
    }
    most = int(MEGABYTES * MEGABYTE) - overhead()
    stacks, tolerance = encode_within([person.stack], most, TOLERANCES)
    about = [bundle.notice, CAUTION, _place(novelty), *_performance(bundle), rounding(tolerance)]
    page = out / PAGE
    write_page(page, f"Explorer: {head.name}", about, content, stacks)
    return page


def _place(novelty: np.ndarray) -> str:
    """How usual the scan's code is, in a sentence."""
    percent = plain(novelty)[0]
    return (
        f"The scan's code lies farther from those of training than {percent:.0f} % of the codes "
        "that the models were compared with."
    )


def _performance(bundle: Bundle) -> list[str]:
    """How well the probes read test people, in a sentence each."""
    names = {
        "diagnosis": "The diagnosis probe has an AUROC of {value:g} [{ci_low:g}, {ci_high:g}]",
        "age": "The age probe errs by {value:g} [{ci_low:g}, {ci_high:g}] years on average",
    }
    found = bundle.settings["performance"]
    return [
        f"{text.format(**found[key])} on test people."
        for key, text in names.items()
        if key in found
    ]
