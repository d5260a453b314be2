"""The ledger of all images, verdicts, usable scans, the limit on failures, flow and Table 1."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ldae.cohort.flow import flow_table, summarise
from ldae.cohort.inclusion import (
    check_conversion,
    check_failures,
    included_scans,
    known_scans,
    read_decisions,
)
from ldae.cohort.ledger import STAGES, build_ledger, check_images
from ldae.cohort.table1 import cohort_table
from ldae.derivatives import STEPS, lost_scans, read_manifests
from ldae.errors import UserError
from ldae.files import write_table

SIDES = {"sub-A": "train", "sub-B": "val", "sub-C": "test", "sub-D": "train"}
LABELS = [  # participant, months, diagnosis, age, MMSE, sex, e4 alleles, Tesla, cohort
    ("sub-A", 0, "CN", 70.0, 30, "M", 0, 1.5, "ADNI"),
    ("sub-A", 6, "CN", 70.5, 29, "M", 0, 1.5, "ADNI"),
    ("sub-A", 12, "MCI", 71.0, 27, "M", 0, 2.89, "ADNI"),
    ("sub-B", 0, None, 65.0, None, "F", 1, 3.0, "ADNI"),
    ("sub-B", 24, "MCI", None, 28, "F", 1, 3.0, "ADNI"),
    ("sub-C", 0, "AD", 80.0, 20, "F", None, 3.0, "ADNI"),
    ("sub-C", 6, None, None, None, "F", None, None, "ADNI"),
    ("sub-D", 0, "AD", 75.0, 21, "M", 2, 1.5, "OASIS"),
]
NOT_CONVERTED = [
    ("I900", "unrecognised", "The file bears no image identifier."),
    ("I901", "corrupt", "Slice 12 of I901 is missing."),
    ("I902", "no_metadata", "MPRAGEMETA has no row for this image."),
    ("I903", "rejected_qc", "Series S903 did not pass ADNI's quality check (PASS is 0)."),
    ("I904", "not_chosen", "Clinica preferred I1 for the visit 'ADNI Screening'."),
    ("I905", "not_chosen", "Clinica preferred I22 for the visit 'ADNI1/GO Month 6'."),
    ("I906", "failed", "Clinica left no image."),
]
FAILED, REFUSED, KEPT, EXCLUDED = (
    "sub-A_ses-M000", "sub-A_ses-M006", "sub-B_ses-M000", "sub-C_ses-M006"
)  # fmt: skip
QC = "QC: dice 0.62 is below min_dice 0.85; snr 1.2 is below min_snr 2"


@pytest.fixture
def books(tmp_path):
    """All that the ledger is made of: eight scans, of which three are lost, and other images."""
    names = ["participant_id", "months", "diagnosis", "age", "mmse", "sex", "apoe4"]
    scans = pd.DataFrame(LABELS, columns=[*names, "field_strength", "cohort"])
    scans["session_id"] = [f"ses-M{months:03d}" for months in scans["months"]]
    scans["scan_id"] = scans["participant_id"] + "_" + scans["session_id"]
    scans["cdr_global"], scans["image_hash"] = 0.5, [f"h{n}" for n in range(len(scans))]
    subject, paths = scans["participant_id"].str[-1], [f"{n}/x.dcm" for n in range(len(scans))]
    made = scans[["cohort", "scan_id"]].assign(subject_id=subject, status="converted", path=paths)
    made["image_id"], made["reason"] = [f"I{n}" for n in range(len(scans))], "Chosen."
    copy = made.iloc[[0]].assign(scan_id="sub-A_ses-M036", path="copy/x.dcm", image_id="I800")
    others = pd.DataFrame(NOT_CONVERTED, columns=["image_id", "status", "reason"])
    others = others.assign(cohort="ADNI", subject_id="A", path="other/" + others["image_id"])
    missing = others.iloc[[0]].assign(status="missing", path=None, image_id="I999")
    shards = {step: [] for step in STEPS}
    for step in STEPS:
        table = scans[["scan_id"]].assign(status="ok", reason="", seconds=1.0)
        table = table.set_index("scan_id", drop=False)
        if step != "n4":
            ended = ["failed" if step == "brain" else "skipped", "RuntimeError: 7 voxels"]
            table.loc[FAILED, ["status", "reason"]] = ended
        if step == "registration":
            table.loc[[REFUSED, KEPT], ["status", "reason"]] = ["qc", QC]
        elif step == "pack":
            table.loc[FAILED, ["status", "reason"]] = ["skipped", ""]
        for number, part in enumerate((table[:3], table[3:], table[:0])):
            shards[step].append(tmp_path / step / f"shard-{number}.tsv")
            write_table(part, shards[step][-1])
    (tmp_path / "exclude.tsv").write_text(
        f"scan_id\tverdict\treason\n{EXCLUDED}\t\tmotion\n{KEPT}\tkeep\tlarge ventricles\n"
    )
    splits = pd.DataFrame(SIDES.items(), columns=["participant_id", "split"])
    manifests = read_manifests(shards)
    decisions = read_decisions(tmp_path / "exclude.tsv", set(scans["scan_id"]))
    return {
        "conversion": pd.concat([made, copy, others, missing], ignore_index=True),
        "duplicates": pd.DataFrame(
            [("sub-A_ses-M036", "sub-A_ses-M000", "The same voxels as sub-A_ses-M000.")],
            columns=["scan_id", "duplicate_of", "reason"],
        ),
        "scans": scans,
        "splits": splits,
        "manifests": manifests,
        "volumes": included_scans(scans, splits, manifests, decisions),
        "decisions": decisions,
    }


def used_by(books, **changed):
    kept = {name: books[name] for name in ("scans", "splits", "manifests", "decisions")}
    return included_scans(**kept | changed)


# --- Usable scans and verdicts -----------------------------------------------------------------


def test_usable_are_those_that_passed_and_those_a_person_keeps(books):
    lost = {FAILED, REFUSED, EXCLUDED}
    usable = books["volumes"]
    assert usable["scan_id"].tolist() == sorted(set(books["scans"]["scan_id"]) - lost)
    assert usable["split"].tolist() == [SIDES[name] for name in usable["participant_id"]]
    nobody = books["decisions"][:0]
    assert set(used_by(books, decisions=nobody)["scan_id"]) ^ set(usable["scan_id"]) == {
        KEPT,
        EXCLUDED,
    }
    # There is no image of a failed scan: it cannot be kept.
    wish = pd.DataFrame([(FAILED, "keep", "I want it")], columns=books["decisions"].columns)
    assert FAILED not in set(used_by(books, decisions=wish)["scan_id"])


def test_usable_scans_must_be_known_and_on_one_side(books):
    with pytest.raises(UserError, match=r"1 scan\(s\).*sub-D_ses-M000.*preprocess"):
        manifest = books["manifests"]["registration"]
        used_by(books, manifests=books["manifests"] | {"registration": manifest[:-1]})
    with pytest.raises(UserError, match=r"1 scan\(s\).*step pack, such as sub-D_ses-M000"):
        used_by(books, manifests=books["manifests"] | {"pack": books["manifests"]["pack"][:-1]})
    with pytest.raises(UserError, match="in no split, such as sub-D"):
        used_by(books, splits=books["splits"][:-1])
    same = books["scans"].assign(image_hash="h")
    with pytest.raises(UserError, match=r"image\(s\) are in two splits"):
        used_by(books, scans=same)
    everything = books["scans"][["scan_id"]].assign(verdict="exclude", reason="no")
    with pytest.raises(UserError, match="None of the 8 scans"):
        used_by(books, decisions=everything)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("sub-1_ses-M00\t\tmotion\n", "nor in conversion.tsv: sub-1_ses-M00"),
        ("sub-1_ses-M000\t\t \n", "no reason"),
        ("sub-1_ses-M000\tmaybe\tmotion\n", "other than exclude and keep"),
        ("sub-1_ses-M000\tkeep\tgood\nsub-1_ses-M000\t\tbad\n", "twice"),
    ],
)
def test_verdicts_must_be_known_and_reasoned(rows, message, tmp_path):
    path = tmp_path / "exclude.tsv"
    path.write_text(f"scan_id\tverdict\treason\n{rows}")
    with pytest.raises(UserError, match=message):
        read_decisions(path, {"sub-1_ses-M000"})


def test_verdicts_without_a_verdict_exclude(tmp_path):
    path = tmp_path / "exclude.tsv"
    path.write_text("scan_id\treason\nsub-1_ses-M000\tmotion\n")
    assert read_decisions(path, {"sub-1_ses-M000"}).values.tolist() == [
        ["sub-1_ses-M000", "exclude", "motion"]
    ]
    assert read_decisions(None, set()).empty
    assert read_decisions(Path(__file__).parents[2] / "config/exclude.tsv", set()).empty


def test_a_verdict_may_be_of_a_scan_that_was_left_out_before(books, tmp_path):
    """A duplicate, or a scan whose image is corrupt since: the verdict was right when written."""
    conversion = books["conversion"]
    conversion.loc[conversion["status"] == "failed", "scan_id"] = "sub-D_ses-M012"
    known = known_scans(books["scans"], conversion)
    path = tmp_path / "exclude.tsv"
    path.write_text(
        f"scan_id\treason\nsub-A_ses-M036\tmotion\nsub-D_ses-M012\tmotion\n{EXCLUDED}\tmotion\n"
    )
    decisions = read_decisions(path, known)
    assert {KEPT, EXCLUDED}.isdisjoint(used_by(books, decisions=decisions)["scan_id"])
    rows = build_ledger(
        **books | {"decisions": decisions, "volumes": used_by(books, decisions=decisions)}
    ).set_index("scan_id")
    assert rows.loc["sub-A_ses-M036", "stage"] == "duplicate"
    path.write_text("scan_id\treason\nsub-A_ses-M03\tmotion\n")
    with pytest.raises(UserError, match="sub-A_ses-M03"):
        read_decisions(path, known)


def test_a_scan_that_cannot_be_packed_is_lost_like_any_other(books):
    why = {KEPT: "no contrast", EXCLUDED: "cannot be read", "sub-D_ses-M000": "no contrast"}
    pack = books["manifests"]["pack"].set_index("scan_id", drop=False)
    for scan, reason in why.items():
        pack.loc[scan, ["status", "reason"]] = ["failed", reason]
    manifests = books["manifests"] | {"pack": pack.reset_index(drop=True)}
    lost = lost_scans(manifests).set_index("scan_id")["step"]
    assert lost.to_dict() == {FAILED: "brain", REFUSED: "qc", **dict.fromkeys(why, "pack")}
    volumes = used_by(books, manifests=manifests)
    assert not set(volumes["scan_id"]) & set(why)
    ledger = build_ledger(**books | {"manifests": manifests, "volumes": volumes})
    rows = ledger.set_index("scan_id")
    for scan, reason in why.items():  # also the one that a person wants to keep: it has no image
        assert rows.loc[scan, ["stage", "reason"]].tolist() == ["pack", reason]
    flow = flow_table(ledger, books["conversion"])
    flow = flow[flow["cohort"] == "all"].set_index("stage")
    assert flow.loc["pack", "images"] == 3 and flow.loc["pack", "reasons"].startswith("no contrast")
    wanted = r"3 of 8 .*\n.*\n.*\n.*sub-D_ses-M000 \(pack\): no contrast"
    with pytest.raises(UserError, match=wanted):
        check_failures(manifests, books["decisions"], max_failed_fraction=0.25)


def test_manifests_of_another_kind_are_refused(tmp_path):
    rows = {"scan_id": ["a", "b"], "status": ["ok", "qc"], "reason": "", "seconds": 1}
    write_table(pd.DataFrame(rows), tmp_path / "m.tsv")
    with pytest.raises(UserError, match="n4 has unknown status qc"):
        read_manifests({step: [tmp_path / "m.tsv"] for step in STEPS})
    with pytest.raises(UserError, match="in two manifests of n4"):
        read_manifests({step: [tmp_path / "m.tsv"] * 2 for step in STEPS})


# --- Ledger ------------------------------------------------------------------------------------


def test_ledger_says_of_every_image_where_it_ended(books):
    ledger = build_ledger(**books)
    assert len(ledger) == 16 and ledger["path"].is_unique
    stage = ledger.set_index("image_id")["stage"]
    assert stage[[image for image, *_ in NOT_CONVERTED]].tolist() == [
        "file", "file", "metadata", "adni_qc", "selection", "selection", "conversion"
    ]  # fmt: skip
    assert stage["I800"] == "duplicate"
    rows = ledger.set_index("scan_id")
    assert rows.loc[FAILED, "stage"] == "brain" and "7 voxels" in rows.loc[FAILED, "reason"]
    assert rows.loc[REFUSED, "stage"] == "qc" and rows.loc[REFUSED, "reason"] == QC
    assert rows.loc[EXCLUDED, ["stage", "reason"]].tolist() == ["exclude", "motion"]
    assert rows.loc[KEPT, ["status", "split", "lacks"]].tolist() == ["used", "val", "diagnosis"]
    assert rows.loc["sub-B_ses-M024", "lacks"] == "age"
    assert rows.loc[EXCLUDED, "lacks"] == "diagnosis and age"
    used = ledger["status"] == "used"
    assert used.sum() == len(books["volumes"]) == 5 and set(ledger["stage"]) <= set(STAGES)
    assert (ledger["split"].notna() == used).all() and (ledger["reason"].notna() == ~used).all()


def test_a_person_comes_before_our_quality_control_but_not_before_a_failure(books):
    also = pd.DataFrame(
        [(REFUSED, "exclude", "tumour"), (FAILED, "exclude", "tumour")],
        columns=books["decisions"].columns,
    )
    decisions = pd.concat([books["decisions"], also])
    rows = build_ledger(**books | {"decisions": decisions}).set_index("scan_id")
    assert rows.loc[REFUSED, ["stage", "reason"]].tolist() == ["exclude", "tumour"]
    assert rows.loc[FAILED, "stage"] == "brain"


def test_ledger_refuses_what_does_not_add_up(books):
    def changed(**changes):
        return build_ledger(**books | changes)

    with pytest.raises(UserError, match=r"does not add up.*volume store"):
        changed(volumes=books["volumes"][1:])
    with pytest.raises(UserError, match=r"does not add up.*volume store"):
        changed(decisions=books["decisions"][:1])
    with pytest.raises(UserError, match=r"does not add up.*scan table"):
        changed(scans=books["scans"][1:])
    with pytest.raises(UserError, match=r"converted images.*duplicates"):
        changed(duplicates=books["duplicates"][:0])
    with pytest.raises(UserError, match=r"converted images.*scan table"):
        changed(conversion=books["conversion"][1:])
    with pytest.raises(UserError, match="unknown status lost"):
        changed(conversion=books["conversion"].replace({"status": {"corrupt": "lost"}}))
    with pytest.raises(UserError, match="other splits"):
        changed(volumes=books["volumes"].assign(split="train"))
    for step in STEPS:
        short = books["manifests"] | {step: books["manifests"][step][:-1]}
        with pytest.raises(UserError, match=f"the step {step}"):
            changed(manifests=short)


def test_ledger_has_just_the_images_of_the_download(books):
    ledger = build_ledger(**books)
    images = ledger.loc[ledger["cohort"] == "ADNI", ["image_id", "path"]]
    check_images(ledger, images, "ADNI")
    with pytest.raises(UserError, match=r"15 images entered, but 14 images on disk.*I0 in 0/x.dcm"):
        check_images(ledger, images[1:], "ADNI")
    # Two images without an identifier in one folder are two.
    twice = pd.concat([ledger, ledger[ledger["stage"] == "file"].assign(image_id=None)])
    with pytest.raises(UserError, match=r"17 images entered.*n/a in other"):
        check_images(twice, images, "ADNI")
    check_images(twice, twice[twice["cohort"] == "ADNI"], "ADNI")


# --- The limit on failures ---------------------------------------------------------------------


def test_too_many_failures(books):
    manifests, decisions = books["manifests"], books["decisions"]
    check_failures(manifests, decisions, max_failed_fraction=0.25)
    wanted = r"2 of 8 scans .*\n.*M000 \(brain\): Runtime.*\n.*M006 \(qc\): QC: dice.*\n.*qc/index"
    with pytest.raises(UserError, match=wanted):
        check_failures(manifests, decisions, max_failed_fraction=0.2)
    # A person has looked at the one that is kept; without that verdict it counts.
    with pytest.raises(UserError, match=r"3 of 8 scans"):
        check_failures(manifests, decisions[:1], max_failed_fraction=0.25)


def test_too_many_failed_conversions(books):
    check_conversion(books["conversion"], max_failed_fraction=0.19)
    with pytest.raises(UserError, match=r"2 of 11 scans failed in the conversion.*\n.*I901"):
        check_conversion(books["conversion"], max_failed_fraction=0.1)


# --- Flow and Table 1 --------------------------------------------------------------------------


def test_flow_adds_up_for_all_and_for_each_cohort(books):
    flow = flow_table(build_ledger(**books), books["conversion"])
    assert flow["cohort"].drop_duplicates().tolist() == ["all", "ADNI", "OASIS"]
    blocks = {name: block.set_index("stage") for name, block in flow.groupby("cohort")}
    for block in blocks.values():
        lost = block.loc[list(STAGES[:-1]), "images"].sum()
        assert block.loc["download", "images"] - lost == block.loc["used", "images"]
        assert block.loc["exclude", "remaining"] == block.loc["used", "images"]
        assert block.loc["used", "images"] == block.loc[["train", "val", "test"], "images"].sum()
    counts = ["images", "subjects", "remaining"]
    total = blocks["all"][counts].astype(float)
    assert total.fillna(0).equals(
        sum(blocks[name][counts].astype(float).fillna(0) for name in ("ADNI", "OASIS"))
    )
    assert total.loc["missing", "images"] == 1 and total.loc["download", "images"] == 16
    assert total.loc["no_diagnosis", "images"] == 1 and total.loc["no_age", "images"] == 1
    reasons = blocks["all"]["reasons"]
    assert reasons["qc"] == "dice below 0.85 (1); snr below 2 (1)"
    assert reasons["selection"] == "Clinica preferred … for the visit … (2)"
    assert reasons["adni_qc"] == "Series … did not pass ADNI's quality check (1)"
    assert reasons["duplicate"] == "The same voxels as … (1)"
    assert pd.isna(reasons["used"])


def test_reasons_are_counted_by_kind():
    reasons = ["a"] * 4 + ["b, in 002_S_0413 at 12.5 mm"] * 2 + ["b, in 003_S_1 at 7 mm"]
    reasons += ["Clinica does not convert subjects of ADNI4.", "e", None]
    assert summarise(pd.Series(reasons)) == (
        "a (4); b, in … at … mm (3); Clinica does not convert subjects of ADNI4 (1); other (1)"
    )
    assert summarise(pd.Series([], dtype=object)) is None


def test_one_cohort_has_one_block_and_table_1_is_the_papers(books):
    scans = books["scans"][books["scans"]["cohort"] == "ADNI"]
    splits = books["splits"][:-1]
    table = cohort_table(scans, splits).set_index("group")
    assert list(table.columns[:5]) == ["subjects", "samples", "age", "mmse", "cdr"]
    assert list(table.index) == ["CN", "AD", "MCI", "n/a", "all"]
    # sub-A counts in two groups, once in all.
    assert table["subjects"].tolist() == [1, 1, 2, 2, 3]
    assert table["samples"].tolist() == [2, 1, 2, 2, 7]
    assert table.loc["CN", "age"] == "70.25 ± 0.35" and table.loc["MCI", "mmse"] == "27.50 ± 0.71"
    assert table.loc["all", ["female", "apoe4"]].tolist() == ["66.7", "50.0"]
    assert table.loc["all", ["field_1_5t", "field_3t"]].tolist() == [2, 4]
    assert table.loc["all", "follow_up"] == 12 and table.loc["MCI", "follow_up"] == 18
    assert table.loc["all", [f"{s}_samples" for s in ("train", "val", "test")]].sum() == 7
    nobody = cohort_table(scans[scans["diagnosis"] != "AD"], splits).set_index("group")
    assert nobody.loc["AD", "samples"] == 0 and nobody.loc["AD", "age"] is None
    assert np.isnan(nobody.loc["AD", "follow_up"])


def test_several_cohorts_in_table_1(books):
    table = cohort_table(books["scans"], books["splits"])
    assert table.columns[0] == "cohort"
    sums = table[table["group"] == "all"].set_index("cohort")["samples"]
    assert sums.to_dict() == {"ADNI": 7, "OASIS": 1, "all": 8}
