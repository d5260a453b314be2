"""Subjects of a synthetic download: demographics, visits, scores, and the course of their atrophy.

Everything about subject ``index`` follows from ``(seed, index)`` and the number of visits. So a
download of fewer subjects is the beginning of a larger one. Effect sizes are our choice, of the
order of ADNI's. Ageing, diagnosis and a subject's own severity act on the same volumes, so none can
be read off another.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np

from ldae.errors import require
from ldae.synthetic.bases import base_names
from ldae.synthetic.heads import Atrophy

MARK = "synthetic.json"  # its presence marks a folder as made by this package
MADE_BY = "ldae.synthetic: no image or person here is real"


MAX_SUBJECTS = 800
MAX_VISITS = 5
GROUPS = ("CN", "AD", "CN", "AD", "MCI")  # by index modulo 5: 40 % CN, 40 % AD, 20 % MCI
PHASES = ("ADNI1", "ADNI2", "ADNI3")
MONTHS = {"ADNI1": (0, 6, 12, 24, 36), "ADNI2": (0, 12, 24, 36, 48), "ADNI3": (0, 12, 24, 36, 48)}
FIRST_RID = {"ADNI1": 101, "ADNI2": 4101, "ADNI3": 6101}
FIRST_DAY = {"ADNI1": date(2006, 1, 9), "ADNI2": date(2011, 6, 6), "ADNI3": date(2017, 3, 6)}
STAGE = {"CN": 0.0, "MCI": 0.5, "AD": 1.0}
CONVERTS = 0.9  # an MCI subject more severe than this has Alzheimer's disease at the last visit
# Deliberate faults, as real downloads have them, by index modulo 10
LOCALISER, REJECTED, NO_SCAN, LOST, NO_DIAGNOSIS = 1, 2, 3, 6, 8


@dataclass(frozen=True)
class Visit:
    """One visit. ``diagnosis`` is the true one; ``age`` in years at the examination.

    ``state``: ``scan`` (image on disk), ``no scan`` (only a row in ADNIMERGE), ``lost`` (listed in
    MPRAGEMETA, no file).
    """

    number: int
    months: int
    exam_date: date
    scan_time: datetime
    age: float
    diagnosis: str
    atrophy: Atrophy
    mmse: int
    cdr_global: float
    cdr_sb: float
    state: str

    @property
    def viscode(self) -> str:
        """ADNI's visit code: ``bl``, ``m06``, ``m12``."""
        return "bl" if self.months == 0 else f"m{self.months:02d}"


@dataclass(frozen=True)
class Course:
    """Course of a subject's atrophy, as far as it does not depend on the diagnosis.

    Attributes:
        older: Years beyond 70 at the first visit.
        severity, ventricle, hippocampus, cortex: The subject's own deviations, in SDs.
        pace: Rate of decline over the visits, relative to other subjects.
    """

    older: float
    severity: float
    ventricle: float
    hippocampus: float
    cortex: float
    pace: float

    def atrophy(self, stage: float, years: float) -> Atrophy:
        """Atrophy ``years`` after the first visit at a stage of :data:`STAGE`.

        Another stage than the subject's gives the counterfactual: the same person at the same age.
        """
        log_ventricle = np.log(23) + 0.022 * self.older + 0.55 * stage
        log_ventricle += 0.24 * (0.6 * self.severity + 0.8 * self.ventricle)
        hippocampus = 7.1 - 0.035 * self.older - 1.35 * stage
        hippocampus -= 0.50 * (0.6 * self.severity + 0.8 * self.hippocampus)
        cortex = 0.6 + 0.03 * self.older + 1.0 * stage + 0.2 * self.cortex
        moved = self.pace * years
        return Atrophy(
            float(np.clip(np.exp(log_ventricle + moved * (0.02 + 0.06 * stage)), 14, 70)),
            float(np.clip(hippocampus - moved * (0.05 + 0.20 * stage), 4.2, 8.3)),
            float(np.clip(cortex + moved * (0.03 + 0.10 * stage), 0, 3)),
        )


@dataclass(frozen=True)
class Subject:
    """One participant with visits in order."""

    index: int
    phase: str
    rid: int
    site: int
    base: str
    group: str
    sex: str
    age: float
    education: int
    genotype: tuple[int, int]
    course: Course
    visits: tuple[Visit, ...]

    def years(self, visit: Visit) -> float:
        """Time from the first visit to ``visit``."""
        return (visit.exam_date - self.visits[0].exam_date).days / 365.25

    @property
    def ptid(self) -> str:
        """ADNI's subject identifier; no real site has a number above 990."""
        return f"{self.site:03d}_S_{self.rid:04d}"

    @property
    def participant_id(self) -> str:
        """BIDS identifier as Clinica makes it."""
        return f"sub-ADNI{self.site:03d}S{self.rid:04d}"

    def number(self, visit: Visit, kind: int) -> int:
        """Unique number of an image; ``kind`` (0 to 9) separates the images of one visit."""
        return 9_000_000 + 100 * self.index + 10 * visit.number + kind


def standardised_atrophy(atrophy: Atrophy) -> float:
    """Mean z-score of log ventricular volume and hippocampal loss, by our norms for the elderly."""
    ventricle = (np.log(atrophy.ventricle_ml) - np.log(30.0)) / 0.40
    hippocampus = (6.3 - atrophy.hippocampus_ml) / 0.80
    return float((ventricle + hippocampus) / 2)


def subject_generator(seed: int, index: int, *stream: int) -> np.random.Generator:
    """Random generator of one subject; ``stream`` numbers separate its purposes."""
    return np.random.default_rng([seed, index, *stream])


def cognition(stage: float, severity: float, rng: np.random.Generator) -> tuple[int, float, float]:
    """Draw MMSE, global CDR and CDR sum of boxes at a stage (0 CN, 0.5 MCI, 1 AD)."""
    mean = 29.2 - 2.2 * stage - 3.8 * stage**2
    mmse = int(np.clip(round(mean - 1.2 * stage * severity + rng.normal(0, 0.8)), 8, 30))
    if stage < 0.25:
        return mmse, 0.0, 0.0
    boxes = 9 * stage**2 + severity - 1 + rng.normal(0, 0.5)
    boxes = float(np.clip(round(2 * boxes) / 2, 0.5, 18))
    if stage < 0.75:
        return mmse, 0.5, min(boxes, 4.0)
    return mmse, 2.0 if mmse < 17 else 1.0 if mmse < 24 else 0.5, max(boxes, 2.5)


def draw_subject(seed: int, index: int, visits: int) -> Subject:
    """Subject ``index`` of the download ``seed`` with ``visits`` visits."""
    rng = subject_generator(seed, index, 0)
    group = GROUPS[index % 5]
    # a CN and an AD subject share phase and base, so neither predicts the diagnosis
    pair = index // 5 * 2 + (index % 5) // 2
    bases = base_names()
    phase = PHASES[pair % 3]
    base = bases[(pair + pair // 3) % len(bases)]

    stage = STAGE[group]
    age = round(float(np.clip(rng.normal(73.5 + 2 * stage, 6.5), 57, 90)), 1)
    severity, *deviations, e_rate = rng.normal(0, 1, 5)
    course = Course(age - 70, severity, *deviations, np.exp(0.25 * e_rate))

    start = FIRST_DAY[phase] + timedelta(days=int(rng.integers(0, 500)))
    months = MONTHS[phase][:visits]
    drawn = []
    for number, month in enumerate(months):
        day = start + timedelta(days=round(month * 30.44) + int(rng.integers(-6, 7)) * (month > 0))
        years = (day - start).days / 365.25
        last = number == len(months) - 1 and number > 0
        converted = group == "MCI" and severity > CONVERTS and last
        scan_day = day + timedelta(days=-14 if month == 0 else int(rng.integers(1, 9)))
        clock = timedelta(seconds=int(rng.integers(8 * 3600, 17 * 3600)))
        fault = {NO_SCAN: "no scan", LOST: "lost"}.get(index % 10) if last else None
        now = 0.8 if converted else stage * (1 + 0.05 * years)
        mmse, cdr, boxes = cognition(now, severity, rng)
        drawn.append(
            Visit(
                number=number,
                months=month,
                exam_date=day,
                scan_time=datetime.combine(scan_day, datetime.min.time()) + clock,
                age=round(age + years, 1),
                diagnosis="AD" if converted else group,
                atrophy=course.atrophy(stage, years),
                mmse=mmse,
                cdr_global=cdr,
                cdr_sb=boxes,
                state=fault or "scan",
            )
        )
    frequency = (0.08, 0.78 - 0.26 * stage, 0.14 + 0.26 * stage)
    alleles = sorted(rng.choice((2, 3, 4), size=2, p=frequency).tolist())
    return Subject(
        index=index,
        phase=phase,
        rid=FIRST_RID[phase] + index,
        site=991 + 3 * PHASES.index(phase) + pair // 3 % 3,
        base=base,
        group=group,
        sex="Male" if rng.random() < 0.5 else "Female",
        age=age,
        education=int(np.clip(round(rng.normal(15.8, 2.6)), 8, 20)),
        genotype=(alleles[0], alleles[1]),
        course=course,
        visits=tuple(drawn),
    )


def draw_cohort(subjects: int, visits: int, seed: int) -> list[Subject]:
    """The first ``subjects`` subjects of the download ``seed``.

    Raises:
        UserError: a number is out of range.
    """
    require_size(subjects, MAX_SUBJECTS, visits, (1, MAX_VISITS), seed)
    return [draw_subject(seed, index, visits) for index in range(subjects)]


def require_size(
    subjects: int, most_subjects: int, visits: int, of_visits: tuple[int, int], seed: int
) -> None:
    """Check the size and the seed of a cohort.

    Raises:
        UserError: a number is out of range (``of_visits``: fewest and most visits).
    """
    require(
        1 <= subjects <= most_subjects,
        f"The number of subjects must be between 1 and {most_subjects}, not {subjects}.",
    )
    least, most = of_visits
    require(
        least <= visits <= most,
        f"The number of visits must be between {least} and {most}, not {visits}.",
    )
    require(seed >= 0, f"The seed must be at least 0, not {seed}.")
