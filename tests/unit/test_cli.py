"""Command line on the packaged sample: what each call answers, and many scans in one call."""

import json
import re
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from ldae.application.batch import Batch
from ldae.application.inputs import BRAIN, HEAD, InputScan, find_scans
from ldae.application.sample import HEAD as RAW_HEAD
from ldae.application.sample import sample_visits
from ldae.application.training_codes import TrainingCodes
from ldae.cli import synthetic
from ldae.cli.main import COMMANDS, HELP, ldae, main
from ldae.data.embeddings import load_embeddings
from ldae.errors import UserError
from ldae.locks import locked
from ldae.progress import Progress
from ldae.synthetic import subjects
from ldae.synthetic.download import KIND as DOWNLOAD
from ldae.synthetic.population import MAX_PEOPLE, MAX_VISITS
from ldae.synthetic.preprocessed import KIND as PREPROCESSED
from ldae.synthetic.subjects import MAX_SUBJECTS
from ldae.synthetic.tables import FORMS

VISITS = [str(path) for path in sample_visits()["file"]]
SCAN = VISITS[0]


def image_like_visit(path: Path, change) -> Path:
    """Write a visit of the sample changed by ``change(voxels, affine)``."""
    image = nib.load(SCAN)
    voxels, affine = change(image.get_fdata().astype(np.float32), image.affine.copy())
    nib.save(nib.Nifti1Image(voxels, affine), path)
    return path


@pytest.fixture(scope="module")
def bad(tmp_path_factory) -> dict[str, Path]:
    """Scans that no command may take in silence, by what is wrong with them."""
    folder = tmp_path_factory.mktemp("bad")
    halves = tuple(slice(None, None, 4) for _ in range(3))
    made = {
        "shifted": lambda v, a: (np.roll(v, v.shape[0] // 2, axis=0), a),
        "thumbnail": lambda v, a: (v[halves], a @ np.diag([4, 4, 4, 1])),
        "constant": lambda v, a: (np.full_like(v, 7), a),
        "not-finite": lambda v, a: (np.full_like(v, np.nan), a),
        "half": lambda v, a: (np.where(np.arange(len(v))[:, None, None] < len(v) // 2, v, 0), a),
    }
    found = {
        name: image_like_visit(folder / f"{name}.nii.gz", change) for name, change in made.items()
    }
    found["damaged"] = folder / "damaged.nii.gz"
    found["damaged"].write_bytes(Path(SCAN).read_bytes()[:2000])
    found["empty"] = folder / "empty.nii.gz"
    found["empty"].touch()
    found["raw"] = RAW_HEAD
    stacked = lambda v, a: (np.stack([v, v], -1), a)  # noqa: E731
    found["four"] = image_like_visit(folder / "four.nii.gz", stacked)
    colours = np.zeros((8, 8, 8), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    found["colours"] = folder / "colours.nii.gz"
    nib.save(nib.Nifti1Image(colours, np.eye(4)), found["colours"])
    found["gzip"] = folder / "gzip.nii"
    found["gzip"].write_bytes(Path(SCAN).read_bytes())
    return found


SILENT = ["--sample", "--out"]
REFUSED = {
    # arguments, {…} a bad scan: exit status, part of the sentence
    "encode {raw}": (1, "as with a skull"),
    "encode {shifted}": (1, "template's brain"),
    "encode {thumbnail}": (1, "thumbnail"),
    "encode {constant}": (1, "template's brain|no contrast"),
    "encode {not-finite}": (1, "not finite"),
    "encode {half}": (1, "cut off"),
    "encode {damaged}": (1, "cannot be read"),
    "encode {empty}": (1, "cannot be read"),
    "encode {four}": (1, "one 3-D volume is expected"),
    "encode {colours}": (1, "colours"),
    "encode {gzip}": (1, "does not end in .gz"),
    "encode {header}": (1, "a header and no row"),
    "encode {scan} --out {dir}.npz": (2, "is a folder"),
    "encode {scan} --out {text}/y.npz": (2, "is a file, so"),
    "reconstruct {scan} --out {text}/sub": (2, "is a file, so"),
    "reconstruct {scan} --out r.png": (2, "or be a folder"),
    "reconstruct {one} --out {one}": (1, "is the input scan itself"),
    "apply {raw} --brain-weights nosuch": (2, "does not exist"),
    "apply {colours}": (1, "colours|numbers"),
    "encode nowhere.nii.gz": (1, "does not exist"),
    "encode": (2, "Which scans"),
    "encode {scan} --out y.txt": (2, r"must end in \.npz"),
    "encode {scan} --device tpu": (2, "'cpu', 'cuda'"),
    "encode {scan} --threads 0": (2, "threads"),
    "encode {scan} {scan} --participant-label 01": (1, "No scan of sub-01"),
    "encode setup.py": (1, "does not exist"),
    "encode {folder}": (1, "no preprocessed scan"),
    "encode {text}": (1, "is no NIfTI"),
    "encode {table}": (1, "one of them must be called path"),
    "encode {scan} --steps 3": (2, "No such option"),
    "reconstruct {raw}": (1, "skull"),
    "reconstruct {scan} --steps 0": (2, "1<=x<=1000"),
    "reconstruct {scan} --steps 5000": (2, "1<=x<=1000"),
    "reconstruct {scan} --solver euler": (2, "'multistep'"),
    "reconstruct {scan} {scan2} --out one.nii.gz": (2, "one file, but there are 2 scans"),
    "manipulate {scan}": (2, "How far"),
    "manipulate {scan} --alpha nan": (2, "not finite"),
    "manipulate {scan} --alpha inf": (2, "not finite"),
    "manipulate {scan} --alpha much": (2, "no number"),
    "manipulate {scan} --alpha 1 --sd 1": (2, "not both"),
    "manipulate {scan} --sd 90": (1, "seen nothing like it"),
    "manipulate {raw} --sd 1": (1, "skull"),
    "interpolate {scan}": (2, "Missing argument"),
    "interpolate {scan} {scan2} --position 7": (2, "not between 0 and 1"),
    "interpolate {scan} {scan2} --position nan": (2, "not finite"),
    "interpolate {scan} {scan2} --out x.txt": (2, r"must end in \.nii\.gz"),
    "interpolate {one} {other}": (1, "two people"),
    "interpolate {scan} {raw}": (1, "skull"),
    "interpolate {scan} {two}": (1, "has 2 scans"),
    "apply {brain} --sd -1": (2, "above 0"),
    "encode {scan} --out {text}.npz": (1, "is no file of codes"),
    "apply {brain}": (1, "looks like an extracted brain"),
    "apply {empty}": (1, "cannot be read|head"),
    "apply": (2, "ldae apply --sample"),
    "apply {raw} --alpha -1": (2, "--alpha must be above 0"),
    "share {folder} --to out": (1, "has no trained models"),
    "generate --count 0": (2, "count"),
    "codes {scan}": (2, "No such command"),
    "encod {scan}": (2, "Did you mean encode"),
    "synthetic --spacing 60": (2, "not between 0.5 and 6"),
    "synthetic --visits 60": (2, "1<=x<=5"),
    "synthetic --subjects 6000": (2, "1<=x<=5000"),
    "synthetic --seed -1": (2, "x>=0"),
    "synthetic --variation 2": (2, "not between 0 and 1"),
}


@pytest.mark.parametrize("call", REFUSED)
def test_call_is_refused_in_one_sentence(call, bad, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "notes.txt").write_text("no scan")
    (tmp_path / "notes.txt.npz").write_text("no codes")
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "header.csv").write_text("path\n")
    (tmp_path / "two.csv").write_text(f"path\n{SCAN}\n{VISITS[1]}\n")
    (tmp_path / "table.tsv").write_text("subject\tvisit\nA\t1\n")
    for name in ("sub-1_ses-1_T1w.nii.gz", "sub-2_ses-1_T1w.nii.gz"):
        shutil.copy(SCAN, tmp_path / name)
    names = {
        **bad,
        "scan": SCAN,
        "scan2": VISITS[1],
        "brain": SCAN,
        "folder": "folder",
        "text": "notes.txt",
        "table": "table.tsv",
        "two": "two.csv",
        "header": "header.csv",
        "dir": "folder",
        "one": "sub-1_ses-1_T1w.nii.gz",
        "other": "sub-2_ses-1_T1w.nii.gz",
    }
    status, sentence = REFUSED[call]
    arguments = [re.sub(r"\{(.*)\}", lambda m: str(names[m[1]]), part) for part in call.split()]
    command = arguments[0]
    if command not in ("codes", "synthetic", "share") and call != "apply":
        arguments.append("--sample")
    if "--out" not in arguments and command not in ("codes", "apply", "share"):
        one = {"encode": "out.npz", "generate": "out"}
        arguments += ["--out", one.get(command, "out.nii.gz")]
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert main(arguments) == status
    shown = capsys.readouterr()
    assert shown.out == ""
    assert re.search(sentence, shown.err), shown.err
    assert len(shown.err.strip().splitlines()) == 1, shown.err
    assert not list(tmp_path.glob("out*.n*"))
    assert all(path.read_bytes() == content for path, content in before.items())


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_every_command_has_no_empty_default(name):
    done = CliRunner().invoke(ldae, [name, "--help"])
    assert done.exit_code == 0 and "Usage" in done.output
    assert "None" not in done.output
    assert COMMANDS.keys() == HELP.keys()


@pytest.mark.parametrize(
    ("words", "expected"),
    [("ldae enc", ["encode"]), ("ldae encode --sam", ["--sample"]),
     ("ldae encode --device ", ["cpu", "cuda"])],
)  # fmt: skip
def test_shell_completes_commands_options_and_values(words, expected, monkeypatch, capsys):
    monkeypatch.setenv("_LDAE_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 0
    assert capsys.readouterr().out.split() == [f"plain,{word}" for word in expected]


def test_help_states_the_ranges_of_numbers():
    synthetic = CliRunner().invoke(ldae, ["synthetic", "--help"]).output
    for option in ("--subjects", "--visits", "--spacing", "--variation", "--jobs"):
        (text,) = re.findall(rf"\n  {option} .*?(?=\n  --|\Z)", synthetic, re.S)
        assert re.search(r"x>=1\]|\d<=x<=\d", text), text
    position = CliRunner().invoke(ldae, ["interpolate", "--help"]).output
    assert "0<=x<=1" in position


def test_version_and_kinds_are_those_of_the_library(capsys):
    assert main(["--version"]) == 0
    assert re.fullmatch(r"ldae, version \d+\.\d+\.\d+\n", capsys.readouterr().out)
    assert (synthetic.DOWNLOAD, synthetic.PREPROCESSED) == (DOWNLOAD, PREPROCESSED)
    assert synthetic.FORMS == FORMS
    assert synthetic.MOST_SUBJECTS == {DOWNLOAD: MAX_SUBJECTS, PREPROCESSED: MAX_PEOPLE}
    assert synthetic.MOST_VISITS == MAX_VISITS == subjects.MAX_VISITS


def fill(folder: Path, bad: dict[str, Path]) -> Path:
    """A folder of three good scans and two bad ones."""
    folder.mkdir()
    for number, scan in enumerate(VISITS):
        shutil.copy(scan, folder / f"good-{number}.nii.gz")
    shutil.copy(bad["damaged"], folder / "damaged.nii.gz")
    shutil.copy(bad["raw"], folder / "head.nii.gz")
    return folder


def test_encode_goes_on_after_bad_scans_and_gives_reasons(bad, tmp_path, capsys):
    folder, out = fill(tmp_path / "scans", bad), tmp_path / "codes.npz"
    command = ["encode", str(folder), "--sample", "--out", str(out)]
    assert main(command) == 3
    printed = json.loads(capsys.readouterr().out)
    assert printed["scans"] == 5 and printed["failed"] == ["damaged", "head"]
    names, y_sem = load_embeddings(out)
    assert names == ["good-0", "good-1", "good-2"] and np.isfinite(y_sem).all()
    table = pd.read_csv(out.with_suffix(".tsv"), sep="\t").set_index("scan_id")
    assert table["status"].tolist() == ["failed", "ok", "ok", "ok", "failed"]
    assert "cannot be read" in table.loc["damaged", "reason"]
    assert "skull" in table.loc["head", "reason"]
    assert table.loc["good-0":"good-2", "novelty_percentile"].between(0, 100).all()

    shutil.copy(VISITS[0], folder / "damaged.nii.gz")  # mended, and one taken away
    (folder / "head.nii.gz").unlink()
    assert main(command) == 0
    names, again = load_embeddings(out)
    assert names == ["damaged", "good-0", "good-1", "good-2"]
    assert main([*command, "--participant-label", "01"]) == 1
    assert load_embeddings(out)[0] == names
    np.testing.assert_array_equal(again[1:], y_sem)


def test_swapped_sides_are_stated_wherever_a_scan_is_compared(tmp_path, capsys):
    mirrored = image_like_visit(tmp_path / "mirrored.nii.gz", lambda v, a: (v[::-1].copy(), a))
    last = ["--sample", "--steps", "1", "--out"]
    for command, out in (
        (["encode", str(mirrored), "--sample", "--out"], "one.npz"),
        (["reconstruct", str(mirrored), *last], "one.nii.gz"),
        (["manipulate", str(mirrored), "--sd", "0.1", *last], "two.nii.gz"),
        (["interpolate", SCAN, str(mirrored), *last], "three.nii.gz"),
        (["encode", SCAN, str(mirrored), "--sample", "--out"], "both.npz"),
    ):
        assert main([*command, str(tmp_path / out)]) == 0
        shown = capsys.readouterr()
        assert re.search(r"warning: .*mirrored.*Left and right may be swapped", shown.err) or (
            "warning: Left and right may be swapped" in shown.err
        )
        printed = json.loads(shown.out)
        if out != "both.npz":
            sides = np.atleast_1d(printed["asymmetry"])
            assert sides[-1] < -0.05 and (len(sides) == 1 or sides[0] == -sides[1])
    assert "1 scan has warnings" in shown.err
    table = pd.read_csv(tmp_path / "both.tsv", sep="\t").set_index("scan_id")
    assert table["warnings"].notna().tolist() == [False, True]
    assert table["asymmetry"].gt(0).tolist() == [True, False]


class Work:
    """Work that writes a file a scan, and is stopped once by Ctrl-C before it ends ``b``."""

    def __init__(self, folder: Path):
        self.folder, self.done, self.stops = folder, [], {"b"}
        self.scans = [InputScan(name, Path(SCAN), None) for name in "abc"]

    def result(self, scan: InputScan) -> Path:
        return self.folder / f"{scan.scan_id}.txt"

    def run(self, **settings) -> pd.DataFrame:
        batch = Batch(
            self.scans,
            self.folder / "scans.tsv",
            settings,
            is_kept=lambda scan: self.result(scan).is_file(),
            discard=lambda scan: self.result(scan).unlink(missing_ok=True),
        )

        def work(scan: InputScan) -> dict:
            self.result(scan).write_text(str(settings))
            if scan.scan_id in self.stops:
                self.stops.remove(scan.scan_id)
                raise KeyboardInterrupt
            self.done.append(scan.scan_id)
            return {"value": 1.5}

        batch.run(work, "test")
        return pd.read_csv(self.folder / "scans.tsv", sep="\t").set_index("scan_id")


def test_stopped_batch_goes_on_where_it_was(tmp_path):
    work = Work(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        work.run(steps=1)
    table = work.run(steps=1)
    assert work.done == ["a", "b", "c"]
    assert set(table["status"]) == {"ok"} and table["value"].tolist() == [1.5] * 3
    work.run(steps=2)
    assert work.done[3:] == ["a", "b", "c"]
    work.result(work.scans[2]).unlink()
    work.run(steps=2)
    assert work.done[6:] == ["c"]
    work.scans = work.scans[:1]  # rows of other scans stay
    assert work.run(steps=2).index.tolist() == ["a", "b", "c"]


def test_result_of_other_settings_is_not_taken_for_done(tmp_path):
    """Stopped with its file written, after an earlier command had finished the same scan."""
    work = Work(tmp_path)
    work.stops = set()
    work.run(steps=1)
    work.stops = {"b"}
    with pytest.raises(KeyboardInterrupt):
        work.run(steps=2)
    work.run(steps=1)
    texts = {work.result(scan).read_text() for scan in work.scans}
    assert texts == {"{'steps': 1}"}


def test_error_of_the_software_is_no_reason_of_a_scan(tmp_path):
    def work(scan: InputScan) -> dict:
        raise ZeroDivisionError

    scans = [InputScan("a", Path(SCAN), None)]
    batch = Batch(scans, tmp_path / "scans.tsv", {}, lambda scan: True, lambda scan: None)
    with pytest.raises(ZeroDivisionError):
        batch.run(work, "test")


def test_steps_within_one_of_many_scans_have_no_progress_lines(tmp_path, caplog):
    def work(scan: InputScan) -> dict:
        Progress("step within", 1).step(1)
        return {}

    caplog.set_level("INFO", "ldae.progress")
    for names in ("ab", "c"):
        scans = [InputScan(name, Path(SCAN), None) for name in names]
        batch = Batch(scans, tmp_path / "t.tsv", {}, lambda scan: True, lambda scan: None)
        batch.run(work, "all")
    assert [line.split()[0] for line in caplog.messages] == ["all", "step"]


def test_table_of_somebody_else_is_not_overwritten(tmp_path):
    table = tmp_path / "scans.tsv"
    table.write_text("path\nscan.nii.gz\n")
    with pytest.raises(UserError, match="which is another table"):
        Batch([], table, {}, lambda scan: True, lambda scan: None)
    assert table.read_text() == "path\nscan.nii.gz\n"


def test_novelty_is_a_percentile_of_scans_that_were_not_trained_on(tmp_path):
    rng = np.random.default_rng(1)
    codes = rng.normal(size=(900, 8))
    splits = pd.Series(["train"] * 500 + ["val"] * 200 + ["test"] * 200)
    np.savez(tmp_path / "probe.npz", mean=np.zeros(8), std=np.ones(8), w=np.eye(8)[0], b=0.0)
    training = TrainingCodes.measure(codes, splits, tmp_path / "probe.npz")
    assert training.novelty(rng.normal(size=(2000, 8))).mean() == pytest.approx(50, abs=5)
    assert training.novelty(training.mean[None]) < 1 and training.novelty(10 * codes[:1]) == 100
    assert training.logit_sd == pytest.approx(1, abs=0.1)
    assert training.beyond(0) == 0 and training.beyond(20) > 1
    training.save(tmp_path / "training.npz")
    again = TrainingCodes.load(tmp_path / "training.npz")
    np.testing.assert_allclose(again.novelty(codes), training.novelty(codes), atol=0.01)
    others = np.where((splits == "test").to_numpy()[:, None], 100.0, codes)
    moved = TrainingCodes.measure(others, splits, tmp_path / "probe.npz")
    np.testing.assert_array_equal(moved.precision, training.precision)


def test_bids_data_set_gives_one_scan_a_session(tmp_path):
    (tmp_path / "dataset_description.json").write_text("{}")
    for name in (
        "sub-1/ses-1/anat/sub-1_ses-1_T1w.nii.gz",
        "sub-1/ses-1/anat/sub-1_ses-1_ce-gad_T1w.nii.gz",
        "sub-1/ses-1/anat/sub-1_ses-1_run-2_T1w.nii.gz",
        "sub-1/ses-1/anat/sub-1_ses-1_desc-brain_T1w.nii.gz",
        "sub-1/ses-1/anat/sub-1_ses-1_space-MNI_desc-brain_T1w.nii.gz",
        "sub-2/anat/sub-2_T1w.nii.gz",
        "derivatives/stripped/sub-2/anat/sub-2_T1w.nii.gz",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    heads = find_scans([tmp_path], HEAD)
    assert [(scan.scan_id, scan.path.name) for scan in heads] == [
        ("sub-1_ses-1", "sub-1_ses-1_T1w.nii.gz"),
        ("sub-2", "sub-2_T1w.nii.gz"),
    ]
    (brain,) = find_scans([tmp_path], BRAIN)
    assert brain.path.name == "sub-1_ses-1_space-MNI_desc-brain_T1w.nii.gz"
    (second,) = find_scans([tmp_path], HEAD, ["2"])
    assert second.participant == "sub-2"


@pytest.mark.parametrize(("suffix", "delimiter"), [(".csv", ","), (".csv", ";"), (".tsv", "\t")])
def test_table_of_paths_names_its_scans(tmp_path, suffix, delimiter):
    rows = [["scan_id", "path"], ["first", "scans/a.nii.gz"], ["second", SCAN]]
    table = tmp_path / f"list{suffix}"
    table.write_text("".join(delimiter.join(row) + "\n" for row in rows))
    first, second = find_scans([table], BRAIN)
    assert (first.scan_id, first.path) == ("first", tmp_path / "scans/a.nii.gz")
    assert (second.scan_id, second.path) == ("second", Path(SCAN))
    table.write_text(table.read_text().replace("second", "first"))
    with pytest.raises(UserError, match="would both be called first"):
        find_scans([table], BRAIN)
    table.write_text("scan_id,path;site\nfirst,a.nii.gz;1\n")
    with pytest.raises(UserError, match=r"one of them must be called path|is it separated by"):
        find_scans([table], BRAIN)


def test_several_scans_are_manipulated_into_a_folder(tmp_path, capsys):
    out = tmp_path / "moved"
    command = ["manipulate", *VISITS[:2], "--sd", "1", "--steps", "2", "--sample", "--out"]
    assert main([*command, str(out)]) == 0
    table = pd.read_csv(out / "scans.tsv", sep="\t")
    assert (table["alpha_sd"] - 1).abs().max() < 0.01
    files = [f"{name}_desc-manipulation_T1w.nii.gz" for name in table["scan_id"]]
    assert all((out / name).is_file() for name in files)
    assert json.loads(capsys.readouterr().out)["failed"] == []


def test_generated_volume_depends_on_seed_and_number_alone(tmp_path, capsys):
    def volumes(count: int, seed: int) -> list[np.ndarray]:
        out = tmp_path / f"{count}-{seed}"
        command = ["generate", "--count", str(count), "--seed", str(seed), "--steps", "3"]
        assert main([*command, "--sample", "--out", str(out)]) == 0
        names = json.loads(capsys.readouterr().out)["volumes"]
        images = [nib.load(out / name) for name in names]
        visit = nib.load(SCAN)
        assert np.allclose(images[0].affine[:3, :3], np.diag([5.0, 5, 5]))
        centres = [i.affine @ [*(np.array(i.shape) / 2), 1] for i in (images[0], visit)]
        assert np.abs(centres[0] - centres[1]).max() < 6  # mm
        return [image.get_fdata() for image in images]

    one, two, other = volumes(1, 1)[0], volumes(2, 1), volumes(1, 2)[0]
    np.testing.assert_array_equal(one, two[0])
    assert np.abs(one - two[1]).max() > 0.01 and np.abs(one - other).max() > 0.01


def test_config_prints_what_a_run_reads(capsys, tmp_path, monkeypatch):
    assert main(["config", "config/demo.yaml", "--key", "evaluation.manipulation.alpha"]) == 0
    assert capsys.readouterr().out == "0.1\n...\n"
    assert main(["config", "--key", "evaluation.nothing"]) == 1
    assert "there is no nothing" in capsys.readouterr().err
    assert main(["config", "config/none.yaml"]) == 1
    assert "config/none.yaml is no file" in capsys.readouterr().err
    broken = tmp_path / "broken.yaml"
    for text, sentence in (("a: [1", "line 1 is not YAML"), ("- a", "no keys"), ("", "")):
        broken.write_text(text)
        assert main(["config", str(broken)]) == (1 if sentence else 0)
        assert sentence in capsys.readouterr().err
    monkeypatch.chdir(tmp_path)
    assert main(["config"]) == main(["resources", "list"]) == 1
    assert capsys.readouterr().err.count("in the project's folder") == 2
    assert main(["resources", "stage", "--help"]) == 0


def test_two_processes_do_not_write_one_table(tmp_path):
    work = Work(tmp_path)
    with locked(tmp_path / ".scans.tsv.lock", "scans.tsv"), pytest.raises(UserError) as refused:
        work.run(steps=1)
    assert "is being written by process" in str(refused.value) and not work.done
