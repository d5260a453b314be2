"""Flow chart: no overlap and no text outside its box, for any counts and reasons."""

import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import FancyBboxPatch

from ldae.cohort.flow import flow_table
from ldae.figures import cohort_flow
from ldae.figures.flow_boxes import items
from ldae.figures.style import style
from ldae.files import write_table
from ldae.report.tables.cohort import flow as report_table

LONG = "Clinica chose no scan for 'ADNI Screening': no examination in ADNIMERGE matches it at all."
LOST = {
    "file": (37, ["Slice 3 is missing.", "The file bears no image identifier."]),
    "metadata": (412, ["MPRAGEMETA has no row for this image.", "ADNI4 is not converted."]),
    "selection": (21877, [LONG, "Clinica preferred I1 for the visit 'bl'."]),
    "duplicate": (6, ["The same voxels as sub-1_ses-M000."]),
    "n4": (2, ["RuntimeError: " + "VeryLongNameOfAClass " * 12]),
    "qc": (214, ["QC: dice 0.1 is below min_dice 0.85", "QC: snr 1 is below min_snr 2"]),
    "exclude": (17, ["motion", "metal", "tumour", "wraparound"]),
}
SPLITS = ["train"] * 17 + ["test"] * 2 + ["external"]


@pytest.fixture(scope="module", params=[1, 4], ids=["one cohort", "four cohorts"])
def drawing(request, tmp_path_factory):
    """Flow chart of tables with counts of five digits."""
    folder = tmp_path_factory.mktemp("tables")
    cohorts = ["ADNI", "AIBL", "NACC", "OASIS3"][: request.param]
    parts = []
    for stage, (number, reasons) in (LOST | {"volumes": (10340, [None])}).items():
        part = pd.DataFrame({"number": range(number)})
        part["cohort"] = [cohorts[n % len(cohorts)] for n in part["number"]]
        part["subject_id"] = [f"{n % 2430}" for n in part["number"]]
        part["reason"] = [reasons[n % len(reasons)] for n in part["number"]]
        parts.append(part.assign(stage=stage, status="excluded", split=None, lacks=None))
    used = parts[-1]
    used["status"], used["split"] = "used", [SPLITS[n % 20] for n in used["number"]]
    used.loc[::30, "lacks"] = "diagnosis and age"
    ledger = pd.concat(parts, ignore_index=True)
    missing = ledger[:129].assign(status="missing")
    index = used.rename(columns={"subject_id": "participant_id", "number": "scan_id"})
    labels = ["CN", "MCI", "AD", None]
    index["diagnosis"] = [labels[n % 4] for n in index["scan_id"]]
    write_table(flow_table(ledger, missing), folder / "flow.tsv")
    write_table(index, folder / "index.tsv")
    with style():
        drawn = cohort_flow.draw({name: folder / f"{name}.tsv" for name in ("flow", "index")}, {})
        FigureCanvasAgg(drawn.figure).draw()
    return drawn


def overlap(a, b) -> bool:
    return min(a.x1, b.x1) - max(a.x0, b.x0) > 1 and min(a.y1, b.y1) - max(a.y0, b.y0) > 1


def test_flow_chart_texts_fit_their_boxes_and_boxes_do_not_overlap(drawing):
    (axes,) = drawing.figure.axes
    boxes = [
        patch.get_window_extent() for patch in axes.patches if isinstance(patch, FancyBboxPatch)
    ]
    page = drawing.figure.bbox
    assert len(boxes) >= 12
    for number, box in enumerate(boxes):
        assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1
        assert not any(overlap(box, other) for other in boxes[:number])
    texts = [text for text in axes.texts if text.get_text()]
    for text in texts:
        at = text.get_window_extent()
        assert any(
            box.x0 < at.x0 and at.x1 < box.x1 and box.y0 - 1 < at.y0 and at.y1 < box.y1 + 1
            for box in boxes
        ), text.get_text()
    shown = " ".join(text.get_text() for text in texts)
    for part in ("32,905 images on disk", "10,340 scans used", "Not chosen for the visit: 21,877"):
        assert part in shown
    assert (
        "of which 345 without diagnosis" in shown
        and "Dice with template mask below 0.85 (107)" in shown
    )
    for internal in ("MPRAGEMETA", "ADNIMERGE", "dice below", "snr below"):
        assert internal not in shown


def test_flow_chart_has_a_box_for_each_phase_also_where_nothing_is_lost(drawing):
    (axes,) = drawing.figure.axes
    shown = [text.get_text() for text in axes.texts]
    for phase in ("Download", "Conversion", "Preprocessing", "Quality", "Splits"):
        assert shown.count(phase) == 1
    for left in ("scans to convert", "scans converted", "scans preprocessed", "scans used"):
        assert sum(text.endswith(left) for text in shown) == 1
    assert "Lost in conversion: 6 scans" in shown


def test_flow_chart_says_none_where_a_phase_loses_nothing():
    flow = pd.DataFrame(
        {"stage": [stage for *_, stages, _ in cohort_flow.PHASES for stage in stages]}
    )
    flow = pd.concat(
        [
            pd.DataFrame({"stage": ["download"]}),
            flow,
            pd.DataFrame({"stage": ["used", "missing", "no_diagnosis", "no_age"]}),
        ]
    ).assign(images=0, remaining=7, remaining_subjects=3, reasons=None)
    steps = cohort_flow._steps(flow.set_index("stage"), pd.Series(dtype=float))
    assert [step.losses[0].text for step in steps[1:]] == [
        "Not to be converted: none", "Lost in conversion: none", "Lost in preprocessing: none",
        "Excluded for their quality: none",
    ]  # fmt: skip


def test_flow_chart_reasons_have_words_for_keys_and_tables():
    plain = cohort_flow.plain_reason
    assert plain("snr below 2") == "Signal to noise below 2"
    assert plain("QC: mriqc_cjv … is above its highest …") == "MRIQC: cjv … is above its highest …"
    assert plain("MPRAGEMETA has no row for this image (3)") == (
        "The study table of scans has no row for this image (3)"
    )
    assert plain("motion") == "Motion"


def test_flow_chart_names_cohorts_only_if_there_are_several(drawing):
    several = len(set(drawing.data["cohort"])) > 1
    assert ("OASIS3 2,585" in drawing.result) == several
    table = report_table(drawing.data)
    assert (table.columns[0] == "Cohort") == several
    assert {len(row) for row in table.rows} == {len(table.columns)}


def test_flow_box_lines_break_between_items_before_within_items():
    lines = [line.text for line in items(["a" * 15, "b" * 15, "c " * 60], 60.0)]
    assert lines[0] == f"{'a' * 15} · {'b' * 15}" and lines[1].startswith("c c")
    assert len(lines) >= 3 and all("·" not in line for line in lines[1:])
