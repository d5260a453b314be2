"""Tables 5 to 7 as TSV, Markdown and LaTeX; model size and seconds a scan."""

import csv
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from helpers.models import CFG, run_probes
from ldae.errors import UserError
from ldae.evaluation.cost import measure_cost, time_reconstructions
from ldae.evaluation.reconstruction import evaluate_reconstruction, write_reconstruction_tables
from ldae.evaluation.reconstruction_tables import summary_table
from ldae.files import read_json, read_table, write_json, write_table
from ldae.inference.trained_system import parameters
from ldae.report.tables.paper import table7, write_tables
from ldae.report.tables.table import escape

SECONDS = {"autoencoder": 3600.0, "ldm": 86400.0, "ldae": 129600.0}
FORMS = ("tsv", "md", "tex")
NAMES = ("table5", "table6", "table7")


@pytest.fixture(scope="module")
def trained(project, tmp_path_factory):
    """Copy of the project with histories, and model cards that name a machine."""
    root = shutil.copytree(project, tmp_path_factory.mktemp("tables") / "project")
    for stage, seconds in SECONDS.items():
        history = pd.DataFrame({"epoch": [1, 2, 3], "seconds": [seconds / 3] * 3})
        write_table(history, root / stage / "history.tsv")
        card = read_json(root / stage / "model.json")
        card |= {"machine": {"device_name": "Big_GPU"}, "config": {"processes": 2}}
        write_json(card, root / stage / "model.json")
    return root


@pytest.fixture(scope="module")
def tables(trained, system):
    """Folder with inputs and outputs; the scans of a second system are in a file of its own."""
    out = trained / "tables"
    measure_cost(system, trained / "volumes", out / "sizes.tsv", out / "seconds.tsv", CFG)
    inputs = (system, trained / "volumes", out / "scans.tsv", CFG, 0, trained / "ldae.npz")
    made = evaluate_reconstruction(*inputs)
    write_reconstruction_tables(made, out / "means.tsv", out / "controls.tsv", CFG["bootstrap"], 0)
    scans = read_table(out / "scans.tsv")
    dae = scans[(scans["system"] == "ldae") & scans["variant"].isin(["y_sem", "encoded"])]
    dae = dae[dae["participant_id"] != "sub-00"]  # a slow system may be measured on fewer scans
    write_table(dae.assign(system="dae", mse=0.0, ssim=1.0, ssim_to_ae=np.nan), out / "dae.tsv")
    run_probes(trained, out)
    write_all(trained)
    return out


def write_all(trained) -> None:
    out = trained / "tables"
    write_tables(
        [out / "scans.tsv", out / "dae.tsv"],
        [out / "sizes.tsv"],
        [out / "seconds.tsv"],
        [trained / stage for stage in SECONDS],
        out / "probes.tsv",
        {name: {form: out / f"{name}.{form}" for form in FORMS} for name in NAMES},
        out / "systems.tsv",
        CFG["bootstrap"],
        0,
    )


def _rows(path) -> list[list[str]]:
    with path.open(encoding="utf-8") as stream:
        return list(csv.reader(stream, delimiter="\t"))


def _numbers(cells: list[str]) -> list[str]:
    text = " ".join(cells).replace("−", "-").replace("$-$", "-")
    return re.findall(r"-?\d+(?:[.,]\d+)*(?:e-?\d+)?", text)


@pytest.mark.parametrize("name", NAMES)
def test_paper_tables_have_the_same_numbers_in_every_format(tables, name):
    wanted = _rows(tables / f"{name}.tsv")
    lines = (tables / f"{name}.md").read_text().splitlines()
    markdown = [line for line in lines if line.startswith("|") and "---" not in line]
    latex = (tables / f"{name}.tex").read_text()
    body = latex[latex.index(r"\toprule") : latex.index(r"\bottomrule")].splitlines()
    latex_rows = [line for line in body if line.endswith(r"\\")]
    assert len(wanted) == len(markdown) == len(latex_rows) > 5
    for row, one, two in zip(wanted, markdown, latex_rows, strict=True):
        assert len(row) == len(one.split(" | ")) == len(two.split(" & "))
        assert _numbers(row) == _numbers([one])
        assert _numbers(row) == _numbers([re.sub(r"\^2", "", two)])
    assert latex.count("{") - latex.count(r"\{") == latex.count("}") - latex.count(r"\}")
    assert rf"\label{{tab:{name}}}" in latex and r"\begin{tabular}" in latex


def test_numbers_of_table6_have_every_system(tables):
    numbers = read_table(tables / "systems.tsv")
    assert {"ldae", "dae"} <= set(numbers["system"])
    mine = numbers[(numbers["system"] == "dae") & (numbers["metric"] == "ssim")]
    assert (mine["value"] == 1).all() and {"T", "variant", "ci_low", "paper"} <= set(numbers)


def test_table6_has_means_of_all_systems_and_paper_values(tables):
    head, *rows = _rows(tables / "table6.tsv")
    found = {tuple(row[:2] + row[4:5]): dict(zip(head, row, strict=True)) for row in rows}
    scans = read_table(tables / "scans.tsv")
    mine = scans[(scans["variant"] == "y_sem") & (scans["T"] == 4)]
    label = next(key[0] for key in found if key[0].startswith("LDAE"))
    row = found[label, "y_sem alone", "4"]
    expected = summary_table(scans, CFG["bootstrap"], 0)
    expected = expected[
        (expected["variant"] == "y_sem") & (expected["T"] == 4) & (expected["metric"] == "mse")
    ].squeeze()
    value, low, high = map(float, _numbers([row["MSE"]]))
    assert value == pytest.approx(mine["mse"].mean(), abs=5e-5)
    assert (low, high) == pytest.approx((expected["ci_low"], expected["ci_high"]), abs=5e-5)
    assert row["MSE, paper"] == "n/a"  # the paper has no T = 4
    auto = next(row for key, row in found.items() if key[0].startswith("AutoencoderKL"))
    assert (auto["SSIM, paper"], auto["MSE, paper"], auto["T"]) == ("0.962", "0.001", "n/a")
    assert auto["Latent dim."] == "1,536"
    perfect = found["DAE", "encoded z_T", "4"]
    assert perfect["SSIM"] == "1.000 [1.000, 1.000]"
    note = (tables / "table6.md").read_text()
    assert "18 scans of 6 test subjects (AutoencoderKL, LDDIM and LDAE); 15 scans of 5" in note
    assert not any("another" in key[1] for key in found)  # controls have their own table


def test_table5_has_sizes_training_time_and_machines(tables, system):
    head, *rows = _rows(tables / "table5.tsv")
    found = {row[0]: dict(zip(head, row, strict=True)) for row in rows}
    assert found["Training"]["LDAE"] == "3+3 epochs / 2.5 days"
    assert found["Training"]["AutoencoderKL"] == "3 epochs / 1.0 hours"
    assert found["Training"]["LDAE, paper"] == "500+200 epochs / ~3 days"
    assert found["Training hardware"]["LDDIM"] == "2 × Big_GPU"
    count = sum(p.numel() for p in system.guided.parameters())
    count += sum(p.numel() for p in system.encoder.parameters())
    assert found["Parameters"]["LDAE"] == f"{count / 1e6:.2f}M"
    sizes = read_table(tables / "sizes.tsv").set_index(["system", "variant"])
    assert sizes.loc[("ldae", "encoded"), "parameters"] == count
    assert sizes.loc[("ldae", "encoded"), "latent_dim"] == 512 + 3 * 8**3
    seconds = read_table(tables / "seconds.tsv").set_index(["system", "variant"])["seconds"]
    shown = found["Seconds a scan, encoded z_T, T = 4"]["LDAE"].split(" ± ")[0]
    assert float(shown) == pytest.approx(seconds["ldae", "encoded"], abs=0.005)
    assert (seconds > 0).all()


def test_table5_of_published_weights_has_no_training_time(trained, tables):
    path = trained / "autoencoder" / "model.json"
    card, before = read_json(path), (tables / "table5.tsv").read_bytes()
    history = trained / "autoencoder" / "history.tsv"
    history_bytes = history.read_bytes()
    history.unlink()
    try:
        with pytest.raises(UserError, match=re.escape("history.tsv")):
            write_all(trained)
        write_json({**card, "published": True}, path)
        write_all(trained)
        training = next(row for row in _rows(tables / "table5.tsv") if row[0] == "Training")
        assert training[1] == "published weights"
    finally:
        write_json(card, path)
        history.write_bytes(history_bytes)
    write_all(trained)
    assert (tables / "table5.tsv").read_bytes() == before


def test_table7_has_both_probes_paper_values_and_sample_size_notes(tables):
    head, *rows = _rows(tables / "table7.tsv")
    found = {tuple(row[:3]): dict(zip(head, row, strict=True)) for row in rows}
    keys = ["target", "probe", "system", "metric"]
    scores = read_table(tables / "probes.tsv").set_index(keys)
    for probe, label in (("regularised", "Regularised"), ("paper", "Section 4.2")):
        row = found["AD against CN", label, "AUROC"]
        assert row["LDAE, paper"] == "0.895"
        one = scores.loc[("diagnosis", probe, "volumes", "auroc")]
        wanted = [f"{one[name]:.3f}" for name in ("value", "ci_low", "ci_high")]
        assert _numbers([row["Tissue volumes"]]) == wanted
    assert found["MCI to AD", "Regularised", "AUROC"]["LDAE"] == "n/a"
    assert "too few subjects: 0 stays MCI in training" in (tables / "table7.md").read_text()
    mean = found["Age", "Regularised", "MAE"]
    assert mean["LDAE, paper"] == "4.16" and mean["Mean training age"] != "n/a"


def test_parameters_counts_shared_weights_once():
    one, two = torch.nn.Linear(3, 4), torch.nn.Linear(3, 4)
    two.weight = one.weight
    assert parameters(one) == 16
    assert parameters(one, two) == 20


def test_time_reconstructions_times_every_scan_after_a_warm_up(system, project, monkeypatch):
    store, asked, clock = system.volume_store(project / "volumes"), [], [0.0]
    monkeypatch.setattr("ldae.evaluation.cost.time.perf_counter", lambda: clock[0])

    def spend() -> None:
        clock[0] += len(asked)  # 1 s in the warm-up, then 2 and 3

    class Slow:
        compute = system.compute

        def runs(self, x, scan, steps, noise):
            asked.append((scan, steps))
            return {("slow", "encoded"): spend, ("none", "y_sem"): lambda: None}

    table = time_reconstructions(Slow(), store, CFG).set_index("system")
    assert [steps for _, steps in asked] == [2, 4, 4]
    assert len({scan.split("_")[0] for scan, _ in asked}) == 2  # subjects
    assert table["seconds"].to_dict() == {"slow": 2.5, "none": 0.0}
    assert table["n_scans"].tolist() == [2, 2]


def test_escape_of_latex_text():
    text = "y_sem & z_T: 95 % of x_1 − 2 × {a} ~3²"
    assert escape(text) == (
        r"$y_\mathrm{sem}$ \& $z_T$: 95 \% of x\_1 $-$ 2 $\times$ \{a\} $\sim$3$^2$"
    )


def test_table7_names_the_systems_whose_threshold_failed(tables):
    probes = read_table(tables / "probes.tsv")
    mine = (probes["target"] == "diagnosis") & (probes["probe"] != "paper")
    both = probes["system"].isin(["ldae", "untrained"])
    for metric, value in (("sensitivity", 1.0), ("specificity", 0.0)):
        probes.loc[mine & both & (probes["metric"] == metric), "value"] = value
    note = table7(probes).note
    assert "AD against CN, threshold failed: every scan called AD: " in note
    sentence = note[note.index("AD against CN, threshold failed: every scan") :].partition(".")[0]
    assert "LDAE" in sentence and "Untrained encoder" in sentence
