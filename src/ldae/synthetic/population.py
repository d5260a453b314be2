"""Population of a preprocessed synthetic cohort: people, their visits, sites and scanners.

Everything about person ``index`` follows from ``(seed, index)`` and the largest number of visits.
So a cohort of fewer people is the beginning of a larger one.

Age, disease and a person's own build act on the same volumes, so none can be read off another. The
disease shrinks the hippocampus and widens the ventricles. Age widens the ventricles as well, and
some people have wide ventricles all their life. Effect sizes are our choice, of the order of
ADNI's. Only the effect of the disease on the ventricles is larger, since voxels of 5 mm hardly show
a hippocampus.
"""

from dataclasses import dataclass

import numpy as np

from ldae.synthetic.bases import base_names
from ldae.synthetic.heads import Atrophy
from ldae.synthetic.subjects import GROUPS, STAGE, cognition, require_size, subject_generator

MAX_PEOPLE = 5000
MONTHS = (0, 6, 12, 24, 36, 48)
VISITS = (2, 3, 4, 5)
MAX_VISITS = max(VISITS)
VISITS_PROBABILITIES = (0.2, 0.3, 0.3, 0.2)
SPREAD = {"CN": 0.15, "MCI": 0.20, "AD": 0.25}  # SD of the pathology within a diagnosis
RATE = {"CN": 0.01, "MCI": 0.07, "AD": 0.10}  # growth of the pathology per year
CONVERTS = 0.75  # an MCI person whose pathology passes this has Alzheimer's disease from then on
BENIGN = 0.10  # fraction of people whose ventricles have always been wide
UPGRADED = 0.2  # fraction of people whose site changes its scanner between two of their visits
# Relative frequencies of the sites 0 to 9: AD subjects go to 6 and 7 more often, CN subjects to 8
# and 9. Sites 0 to 5 are as frequent for both.
SITES = 10
SITE_WEIGHTS = {
    "CN": (1, 1, 1, 1, 1, 1, 0.7, 0.7, 1.3, 1.3),
    "MCI": (1,) * SITES,
    "AD": (1, 1, 1, 1, 1, 1, 1.3, 1.3, 0.7, 0.7),
}


@dataclass(frozen=True)
class Build:
    """A person's own anatomy and rate of ageing.

    Attributes:
        ventricle, hippocampus, cortex: Deviations at age 70 without disease, in SDs; positive
            means wide ventricles, a small hippocampus, a withdrawn cortex.
        pace: Rate of ageing relative to others.
    """

    ventricle: float
    hippocampus: float
    cortex: float
    pace: float

    def atrophy(self, age: float, pathology: float) -> Atrophy:
        """Atrophy at an age (years) and a pathology (0 none, 1 typical of Alzheimer's disease)."""
        older = self.pace * (age - 70)
        log_ventricle = np.log(20) + 0.028 * older + 0.55 * pathology + 0.28 * self.ventricle
        hippocampus = 6.9 - 0.035 * older - 0.90 * pathology - 0.60 * self.hippocampus
        cortex = 0.6 + 0.03 * older + 0.8 * pathology + 0.3 * self.cortex
        return Atrophy(
            float(np.clip(np.exp(log_ventricle), 12, 80)),
            float(np.clip(hippocampus, 4.0, 8.4)),
            float(np.clip(cortex, 0, 3)),
        )


@dataclass(frozen=True)
class PersonVisit:
    """One visit. ``scanner``: the site, and its machine (0 or 1); ``age`` in years."""

    number: int
    months: int
    age: float
    diagnosis: str
    pathology: float
    atrophy: Atrophy
    mmse: int
    cdr_global: float
    scanner: tuple[int, int]

    @property
    def session_id(self) -> str:
        """BIDS session, by months since baseline."""
        return f"ses-M{self.months:03d}"


@dataclass(frozen=True)
class Person:
    """One participant with visits in order; ``flipped``: left and right of the base exchanged."""

    index: int
    base: str
    flipped: bool
    group: str
    sex: str
    apoe4: int
    site: int
    build: Build
    visits: tuple[PersonVisit, ...]

    @property
    def participant_id(self) -> str:
        """BIDS identifier."""
        return f"sub-SYN{self.index:04d}"

    def counterfactual_atrophy(self, visit: PersonVisit, diagnosis: str) -> Atrophy:
        """Atrophy that the person would have at a visit with the pathology of another diagnosis.

        The person's deviation from the typical pathology of the diagnosis is kept.
        """
        moved = visit.pathology + (STAGE[diagnosis] - STAGE[visit.diagnosis])
        return self.build.atrophy(visit.age, max(0.0, moved))


def draw_person(seed: int, index: int, visits: int) -> Person:
    """Person ``index`` of the population ``seed``, with ``visits`` visits at most."""
    rng = subject_generator(seed, index, 0)
    group = GROUPS[index % len(GROUPS)]
    stage = STAGE[group]
    age = float(np.clip(rng.normal(72.5 + 2.5 * stage, 7.0), 55, 90))
    ventricle, hippocampus, cortex, pace, severity = rng.normal(0, 1, 5)
    if rng.random() < BENIGN:
        ventricle += 1.8
    build = Build(ventricle, hippocampus, cortex, float(np.exp(0.15 * pace)))
    pathology = max(0.0, stage + SPREAD[group] * severity)
    rate = RATE[group] * float(np.exp(0.3 * rng.normal()))

    weights = np.array(SITE_WEIGHTS[group], float)
    site = int(rng.choice(SITES, p=weights / weights.sum()))
    count = min(visits, int(rng.choice(VISITS, p=VISITS_PROBABILITIES)))
    later = rng.choice(MONTHS[1:], size=count - 1, replace=False)
    months = [0, *sorted(int(month) for month in later)]
    upgrade = int(rng.integers(1, count)) if rng.random() < UPGRADED else count
    first = int(rng.integers(2))
    drawn = []
    for number, month in enumerate(months):
        now = pathology + rate * month / 12
        converted = group == "MCI" and (now > CONVERTS)
        at = round(age + month / 12, 2)
        mmse, cdr, _ = cognition(min(now, 1.3), 0.5 * severity, rng)
        drawn.append(
            PersonVisit(
                number=number,
                months=month,
                age=at,
                diagnosis="AD" if converted else group,
                pathology=now,
                atrophy=build.atrophy(at, now),
                mmse=mmse,
                cdr_global=cdr,
                scanner=(site, first if number < upgrade else 1 - first),
            )
        )
    frequency = 0.14 + 0.26 * stage
    return Person(
        index=index,
        base=str(rng.choice(base_names())),
        flipped=bool(rng.random() < 0.5),
        group=group,
        sex="M" if rng.random() < 0.5 else "F",
        apoe4=int(rng.binomial(2, frequency)),
        site=site,
        build=build,
        visits=tuple(drawn),
    )


def draw_population(subjects: int, visits: int, seed: int) -> list[Person]:
    """The first ``subjects`` people of the population ``seed``, with ``visits`` visits at most.

    Raises:
        UserError: a number is out of range.
    """
    require_size(subjects, MAX_PEOPLE, visits, (VISITS[0], MAX_VISITS), seed)
    return [draw_person(seed, index, visits) for index in range(subjects)]
