"""Ledger of images, rater's decisions, included scans, failure limit, flow table and Table 1."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ldae.cohort.flow import flow_table, summarise
from ldae.cohort.inclusion import check_conversion, check_failures, included_scans
from ldae.cohort.ledger import STAGES, build_ledger, check_images
from ldae.cohort.ratings import known_scans, read_decisions
from ldae.cohort.splits import EXTERNAL
from ldae.cohort.table1 import cohort_table
from ldae.derivatives import RAW_STEPS, STEPS, lost_scans, read_manifests
from ldae.errors import UserError
from ldae.files import write_table

SPLITS = {"sub-A": "train", "sub-B": "val", "sub-C": "test", "sub-D": "train"}
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
FAILED, REJECTED, KEPT, EXCLUDED = (
    "sub-A_ses-M000", "sub-A_ses-M006", "sub-B_ses-M000", "sub-C_ses-M006"
)  # fmt: skip
QC = "QC: dice 0.62 is below min_dice 0.85; snr 1.2 is below min_snr 2"


@pytest.fixture
def inputs(tmp_path):
    """Inputs of the ledger: eight scans, of which three are lost, and other images."""
    names = ["participant_id", "months", "diagnosis", "age", "mmse", "sex", "apoe4"]
    scans = pd.DataFrame(LABELS, columns=[*names, "field_strength", "cohort"])
    scans["session_id"] = [f"ses-M{months:03d}" for months in scans["months"]]
    scans["scan_id"] = scans["participant_id"] + "_" + scans["session_id"]
    scans["cdr_global"], scans["image_hash"] = 0.5, [f"h{n}" for n in range(len(scans))]
    subject, paths = scans["participant_id"].str[-1], [f"{n}/x.dcm" for n in range(len(scans))]
    converted = scans[["cohort", "scan_id"]].assign(
        subject_id=subject, status="converted", path=paths
    )
    converted["image_id"], converted["reason"] = [f"I{n}" for n in range(len(scans))], "Chosen."
    duplicate = converted.iloc[[0]].assign(
        scan_id="sub-A_ses-M036", path="copy/x.dcm", image_id="I800"
    )
    others = pd.DataFrame(NOT_CONVERTED, columns=["image_id", "status", "reason"])
    others = others.assign(cohort="ADNI", subject_id="A", path="other/" + others["image_id"])
    missing = others.iloc[[0]].assign(status="missing", path=None, image_id="I999")
    shards = {step: [] for step in STEPS}
    for step in STEPS:
        table = scans[["scan_id"]].assign(status="ok", reason="", seconds=1.0)
        table = table.set_index("scan_id", drop=False)
        if step != "n4":
            outcome = ["failed" if step == "brain" else "skipped", "RuntimeError: 7 voxels"]
            table.loc[FAILED, ["status", "reason"]] = outcome
        if step == "registration":
            table.loc[[REJECTED, KEPT], ["status", "reason"]] = ["qc", QC]
        elif step == "pack":
            table.loc[FAILED, ["status", "reason"]] = ["skipped", ""]
        for number, part in enumerate((table[:3], table[3:], table[:0])):
            shards[step].append(tmp_path / step / f"shard-{number}.tsv")
            write_table(part, shards[step][-1])
    (tmp_path / "exclude.tsv").write_text(
        f"scan_id\tverdict\treason\n{EXCLUDED}\t\tmotion\n{KEPT}\tkeep\tlarge ventricles\n"
    )
    splits = pd.DataFrame(SPLITS.items(), columns=["participant_id", "split"])
    manifests = read_manifests(shards)
    decisions = read_decisions(tmp_path / "exclude.tsv", set(scans["scan_id"]))
    return {
        "conversion": pd.concat([converted, duplicate, others, missing], ignore_index=True),
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


def included(inputs, **changed):
    selected = {name: inputs[name] for name in ("scans", "splits", "manifests", "decisions")}
    return included_scans(**selected | changed)


# --- Included scans and the rater's decisions --------------------------------------------------


def test_included_scans_passed_quality_control_or_the_rater_keeps_them(inputs):
    lost = {FAILED, REJECTED, EXCLUDED}
    table = inputs["volumes"]
    assert table["scan_id"].tolist() == sorted(set(inputs["scans"]["scan_id"]) - lost)
    assert table["split"].tolist() == [SPLITS[name] for name in table["participant_id"]]
    no_decisions = inputs["decisions"][:0]
    assert set(included(inputs, decisions=no_decisions)["scan_id"]) ^ set(table["scan_id"]) == {
        KEPT,
        EXCLUDED,
    }
    # A failed scan has no image and cannot be kept.
    keep_failed = pd.DataFrame([(FAILED, "keep", "I want it")], columns=inputs["decisions"].columns)
    assert FAILED not in set(included(inputs, decisions=keep_failed)["scan_id"])


def test_included_scans_refuse_incomplete_tables_and_leakage(inputs):
    with pytest.raises(UserError, match=r"1 scan\(s\).*sub-D_ses-M000.*preprocess"):
        manifest = inputs["manifests"]["registration"]
        included(inputs, manifests=inputs["manifests"] | {"registration": manifest[:-1]})
    with pytest.raises(UserError, match=r"1 scan\(s\).*step pack, such as sub-D_ses-M000"):
        included(inputs, manifests=inputs["manifests"] | {"pack": inputs["manifests"]["pack"][:-1]})
    with pytest.raises(UserError, match="in no split, such as sub-D"):
        included(inputs, splits=inputs["splits"][:-1])
    same_image = inputs["scans"].assign(image_hash="h")
    with pytest.raises(UserError, match=r"image\(s\) are in two splits"):
        included(inputs, scans=same_image)
    all_excluded = inputs["scans"][["scan_id"]].assign(verdict="exclude", reason="no")
    with pytest.raises(UserError, match="None of the 8 scans"):
        included(inputs, decisions=all_excluded)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("sub-1_ses-M00\t\tmotion\n", "nor in conversion.tsv: sub-1_ses-M00"),
        ("sub-1_ses-M000\t\t \n", "no reason"),
        ("sub-1_ses-M000\tmaybe\tmotion\n", "other than exclude, keep, unsure"),
        ("sub-1_ses-M000\tkeep\tgood\nsub-1_ses-M000\t\tbad\n", "twice"),
    ],
)
def test_decisions_refuse_unknown_scans_duplicates_and_missing_reasons(rows, message, tmp_path):
    path = tmp_path / "exclude.tsv"
    path.write_text(f"scan_id\tverdict\treason\n{rows}")
    with pytest.raises(UserError, match=message):
        read_decisions(path, {"sub-1_ses-M000"})


def test_decisions_without_a_verdict_exclude_the_scan(tmp_path):
    path = tmp_path / "exclude.tsv"
    path.write_text("scan_id\treason\nsub-1_ses-M000\tmotion\n")
    assert read_decisions(path, {"sub-1_ses-M000"}).values.tolist() == [
        ["sub-1_ses-M000", "exclude", "motion"]
    ]
    assert read_decisions(None, set()).empty
    assert read_decisions(Path(__file__).parents[2] / "config/exclude.tsv", set()).empty


def test_decisions_may_name_duplicates_and_unconverted_scans(inputs, tmp_path):
    """An image may turn out corrupt or a duplicate later: the decision was right when written."""
    conversion = inputs["conversion"]
    conversion.loc[conversion["status"] == "failed", "scan_id"] = "sub-D_ses-M012"
    known = known_scans(inputs["scans"], conversion)
    path = tmp_path / "exclude.tsv"
    path.write_text(
        f"scan_id\treason\nsub-A_ses-M036\tmotion\nsub-D_ses-M012\tmotion\n{EXCLUDED}\tmotion\n"
    )
    decisions = read_decisions(path, known)
    assert {KEPT, EXCLUDED}.isdisjoint(included(inputs, decisions=decisions)["scan_id"])
    rows = build_ledger(
        **inputs | {"decisions": decisions, "volumes": included(inputs, decisions=decisions)}
    ).set_index("scan_id")
    assert rows.loc["sub-A_ses-M036", "stage"] == "duplicate"
    path.write_text("scan_id\treason\nsub-A_ses-M03\tmotion\n")
    with pytest.raises(UserError, match="sub-A_ses-M03"):
        read_decisions(path, known)


def test_scans_that_fail_packing_are_lost_in_ledger_flow_and_limit(inputs):
    reasons = {KEPT: "no contrast", EXCLUDED: "cannot be read", "sub-D_ses-M000": "no contrast"}
    pack = inputs["manifests"]["pack"].set_index("scan_id", drop=False)
    for scan, reason in reasons.items():
        pack.loc[scan, ["status", "reason"]] = ["failed", reason]
    manifests = inputs["manifests"] | {"pack": pack.reset_index(drop=True)}
    lost = lost_scans(manifests).set_index("scan_id")["step"]
    assert lost.to_dict() == {FAILED: "brain", REJECTED: "qc", **dict.fromkeys(reasons, "pack")}
    volumes = included(inputs, manifests=manifests)
    assert not set(volumes["scan_id"]) & set(reasons)
    ledger = build_ledger(**inputs | {"manifests": manifests, "volumes": volumes})
    rows = ledger.set_index("scan_id")
    for scan, reason in reasons.items():  # KEPT too: it has no image
        assert rows.loc[scan, ["stage", "reason"]].tolist() == ["pack", reason]
    flow = flow_table(ledger, inputs["conversion"])
    flow = flow[flow["cohort"] == "all"].set_index("stage")
    assert flow.loc["pack", "images"] == 3 and flow.loc["pack", "reasons"].startswith("no contrast")
    message = r"3 of 8 .*\n.*\n.*\n.*sub-D_ses-M000 \(pack\): no contrast"
    with pytest.raises(UserError, match=message):
        check_failures(manifests, inputs["decisions"], max_failed_fraction=0.25)


def test_manifests_with_unknown_status_or_repeated_scans_are_refused(tmp_path):
    rows = {"scan_id": ["a", "b"], "status": ["ok", "qc"], "reason": "", "seconds": 1}
    write_table(pd.DataFrame(rows), tmp_path / "m.tsv")
    with pytest.raises(UserError, match="n4 has unknown status qc"):
        read_manifests({step: [tmp_path / "m.tsv"] for step in STEPS})
    with pytest.raises(UserError, match="in two manifests of n4"):
        read_manifests({step: [tmp_path / "m.tsv"] * 2 for step in STEPS})


# --- Ledger ------------------------------------------------------------------------------------


def test_ledger_records_stage_and_reason_of_every_image(inputs):
    ledger = build_ledger(**inputs)
    assert len(ledger) == 16 and ledger["path"].is_unique
    stage = ledger.set_index("image_id")["stage"]
    assert stage[[image for image, *_ in NOT_CONVERTED]].tolist() == [
        "file", "file", "metadata", "adni_qc", "selection", "selection", "conversion"
    ]  # fmt: skip
    assert stage["I800"] == "duplicate"
    rows = ledger.set_index("scan_id")
    assert rows.loc[FAILED, "stage"] == "brain" and "7 voxels" in rows.loc[FAILED, "reason"]
    assert rows.loc[REJECTED, "stage"] == "qc" and rows.loc[REJECTED, "reason"] == QC
    assert rows.loc[EXCLUDED, ["stage", "reason"]].tolist() == ["exclude", "motion"]
    assert rows.loc[KEPT, ["status", "split", "lacks"]].tolist() == ["used", "val", "diagnosis"]
    assert rows.loc["sub-B_ses-M024", "lacks"] == "age"
    assert rows.loc[EXCLUDED, "lacks"] == "diagnosis and age"
    used = ledger["status"] == "used"
    assert used.sum() == len(inputs["volumes"]) == 5 and set(ledger["stage"]) <= set(STAGES)
    assert (ledger["split"].notna() == used).all() and (ledger["reason"].notna() == ~used).all()


def test_ledger_says_in_whose_place_a_used_image_was_taken(inputs):
    used = build_ledger(**inputs).set_index("scan_id")["image_id"]
    sentence = "Taken instead of I7000: it is not in the download."
    instead = dict.fromkeys([used[KEPT], used[EXCLUDED]], sentence)
    rows = build_ledger(**inputs, instead=instead).set_index("scan_id")
    assert rows.loc[KEPT, ["status", "reason"]].tolist() == ["used", sentence]
    assert rows.loc[EXCLUDED, "reason"] == "motion"
    assert (rows["reason"] == sentence).sum() == 1


def test_ledger_prefers_rater_decision_to_qc_but_not_to_a_failure(inputs):
    exclusions = pd.DataFrame(
        [(REJECTED, "exclude", "tumour"), (FAILED, "exclude", "tumour")],
        columns=inputs["decisions"].columns,
    )
    decisions = pd.concat([inputs["decisions"], exclusions])
    rows = build_ledger(**inputs | {"decisions": decisions}).set_index("scan_id")
    assert rows.loc[REJECTED, ["stage", "reason"]].tolist() == ["exclude", "tumour"]
    assert rows.loc[FAILED, "stage"] == "brain"


def test_ledger_refuses_tables_that_contradict_each_other(inputs):
    def changed(**changes):
        return build_ledger(**inputs | changes)

    with pytest.raises(UserError, match=r"does not add up.*volume store"):
        changed(volumes=inputs["volumes"][1:])
    with pytest.raises(UserError, match=r"does not add up.*volume store"):
        changed(decisions=inputs["decisions"][:1])
    with pytest.raises(UserError, match=r"does not add up.*scan table"):
        changed(scans=inputs["scans"][1:])
    with pytest.raises(UserError, match=r"converted images.*duplicates"):
        changed(duplicates=inputs["duplicates"][:0])
    with pytest.raises(UserError, match=r"converted images.*scan table"):
        changed(conversion=inputs["conversion"][1:])
    with pytest.raises(UserError, match="unknown status lost"):
        changed(conversion=inputs["conversion"].replace({"status": {"corrupt": "lost"}}))
    with pytest.raises(UserError, match="other splits"):
        changed(volumes=inputs["volumes"].assign(split="train"))
    for step in STEPS:
        short = inputs["manifests"] | {step: inputs["manifests"][step][:-1]}
        with pytest.raises(UserError, match=f"the step {step}"):
            changed(manifests=short)


def test_scans_that_came_preprocessed_do_not_pass_the_steps_of_raw_heads(inputs):
    cohort = inputs["scans"]["cohort"].iloc[-1]
    names = set(inputs["scans"].loc[inputs["scans"]["cohort"] == cohort, "scan_id"])
    manifests = {
        step: table[~table["scan_id"].isin(names)] if step in RAW_STEPS else table
        for step, table in inputs["manifests"].items()
    }
    inputs["manifests"] = manifests
    with pytest.raises(UserError, match="did not pass the step n4"):
        build_ledger(**inputs)
    ledger = build_ledger(**inputs, preprocessed=[cohort]).set_index("scan_id")
    assert (ledger.loc[list(names), "status"] == "used").any()


def test_ledger_must_list_exactly_the_images_on_disk(inputs):
    ledger = build_ledger(**inputs)
    images = ledger.loc[ledger["cohort"] == "ADNI", ["image_id", "path"]]
    check_images(ledger, images, "ADNI")
    with pytest.raises(UserError, match=r"15 images entered, but 14 images on disk.*I0 in 0/x.dcm"):
        check_images(ledger, images[1:], "ADNI")
    # Two images without an identifier in one folder are two.
    twice = pd.concat([ledger, ledger[ledger["stage"] == "file"].assign(image_id=None)])
    with pytest.raises(UserError, match=r"17 images entered.*n/a in other"):
        check_images(twice, images, "ADNI")
    check_images(twice, twice[twice["cohort"] == "ADNI"], "ADNI")


# --- Failure limit -----------------------------------------------------------------------------


def test_failure_limit_counts_lost_scans_without_a_rater_decision(inputs):
    manifests, decisions = inputs["manifests"], inputs["decisions"]
    check_failures(manifests, decisions, max_failed_fraction=0.25)
    message = r"2 of 8 scans .*\n.*M000 \(brain\): Runtime.*\n.*M006 \(qc\): QC: dice.*\n.*qc/index"
    with pytest.raises(UserError, match=message):
        check_failures(manifests, decisions, max_failed_fraction=0.2)
    # The rater keeps one of the rejected scans. Without that decision it counts as lost.
    with pytest.raises(UserError, match=r"3 of 8 scans"):
        check_failures(manifests, decisions[:1], max_failed_fraction=0.25)


def test_failure_limit_counts_failed_and_corrupt_conversions(inputs):
    check_conversion(inputs["conversion"], max_failed_fraction=0.19)
    with pytest.raises(UserError, match=r"2 of 11 scans failed in the conversion.*\n.*I901"):
        check_conversion(inputs["conversion"], max_failed_fraction=0.1)


def test_failure_limits_do_not_count_external_test_sets(inputs):
    lost = inputs["conversion"]["status"].isin(["failed", "corrupt"])
    bad = inputs["conversion"].assign(cohort=inputs["conversion"]["cohort"].where(~lost, "BAD"))
    check_conversion(bad, 0.0, ["BAD"])
    with pytest.raises(UserError, match="failed in the conversion"):
        check_conversion(bad, 0.0)
    names = lost_scans(inputs["manifests"])["scan_id"]
    check_failures(inputs["manifests"], inputs["decisions"], 0.0, set(names))
    with pytest.raises(UserError, match=r"1 of 6 scans"):
        check_failures(inputs["manifests"], inputs["decisions"][:0], 0.0, set(names[1:]))


def test_refused_data_set_is_in_the_ledger_and_the_flow(inputs):
    row = {"cohort": "BAD", "image_id": "BAD", "path": "bad", "status": "failed"}
    refused = pd.DataFrame([row | {"reason": "The table has no column AGE."}])
    conversion = pd.concat([inputs["conversion"], refused], ignore_index=True)
    ledger = build_ledger(**inputs | {"conversion": conversion})
    found = ledger[ledger["cohort"] == "BAD"].squeeze()
    assert (found["stage"], found["reason"]) == ("conversion", "The table has no column AGE.")
    flow = flow_table(ledger, conversion).set_index(["cohort", "stage"])
    assert flow.loc[("BAD", "used"), "images"] == 0
    assert "no column AGE" in flow.loc[("BAD", "conversion"), "reasons"]


# --- Flow and Table 1 --------------------------------------------------------------------------


def test_flow_adds_up_for_all_and_for_each_cohort(inputs):
    flow = flow_table(build_ledger(**inputs), inputs["conversion"])
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


def test_flow_reasons_are_counted_by_kind():
    reasons = ["a"] * 4 + ["b, in 002_S_0413 at 12.5 mm"] * 2 + ["b, in 003_S_1 at 7 mm"]
    reasons += ["Clinica does not convert subjects of ADNI4.", "e", None]
    assert summarise(pd.Series(reasons)) == (
        "a (4); b, in … at … mm (3); Clinica does not convert subjects of ADNI4 (1); other (1)"
    )
    assert summarise(pd.Series([], dtype=object)) is None


def test_table_1_of_one_cohort_has_one_block_with_the_papers_rows(inputs):
    scans = inputs["scans"][inputs["scans"]["cohort"] == "ADNI"]
    splits = inputs["splits"][:-1]
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
    without_ad = cohort_table(scans[scans["diagnosis"] != "AD"], splits).set_index("group")
    assert without_ad.loc["AD", "samples"] == 0 and without_ad.loc["AD", "age"] is None
    assert np.isnan(without_ad.loc["AD", "follow_up"])


def test_several_cohorts_in_table_1(inputs):
    table = cohort_table(inputs["scans"], inputs["splits"])
    assert table.columns[0] == "cohort"
    sums = table[table["group"] == "all"].set_index("cohort")["samples"]
    assert sums.to_dict() == {"ADNI": 7, "OASIS": 1, "all": 8}


def test_external_test_set_has_columns_in_table_1_and_a_row_in_the_flow(inputs):
    outside = inputs["scans"].loc[inputs["scans"]["cohort"] == "OASIS", "participant_id"]
    for name in ("splits", "volumes"):
        own = ~inputs[name]["participant_id"].isin(outside)
        inputs[name] = inputs[name].assign(split=inputs[name]["split"].where(own, EXTERNAL))
    table = cohort_table(inputs["scans"], inputs["splits"]).set_index(["cohort", "group"])
    assert table["external_subjects"].xs("all", level="group").to_dict() == {
        "ADNI": 0, "OASIS": 1, "all": 1,
    }  # fmt: skip
    assert table.loc[("OASIS", "all"), ["train_samples", "test_samples"]].sum() == 0
    flow = flow_table(build_ledger(**inputs), inputs["conversion"])
    rows = flow[flow["stage"] == EXTERNAL].set_index("cohort")["images"]
    used = flow[flow["stage"] == "used"].set_index("cohort")["images"]
    assert rows["ADNI"] == 0 and rows["OASIS"] == rows["all"] == used["OASIS"]
