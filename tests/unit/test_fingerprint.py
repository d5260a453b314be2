"""A fingerprint covers what a module imports, and nothing else."""

import pytest

from ldae import fingerprint
from ldae.fingerprint import _closure, source_fingerprint


def names(*modules: str) -> set[str]:
    return {str(path.relative_to(fingerprint.PACKAGE)) for path in _closure(modules)}


def test_imports_are_followed_also_inside_functions():
    found = names("training/ldm.py")
    assert {"nets/unet.py", "nets/blocks.py", "diffusion/schedule.py"} <= found
    assert "evaluation/metrics.py" in names("evaluation/reconstruct.py")
    assert "diffusion/ddim.py" in names("evaluation/interpolation.py")


def test_a_stage_does_not_depend_on_another_or_on_plumbing():
    found = names("training/ldm.py", "training/loop.py", "training/product.py")
    assert not found & {"training/ldae.py", "training/autoencoder.py", "files.py", "progress.py"}
    assert not any(name.startswith(("figures", "report", "preprocess")) for name in found)


def test_named_data_files_count():
    assert "evaluation/paper_tables.json" in names("evaluation/probes.py")
    assert "report/report.html.j2" in names("report/build.py")
    assert any(name.endswith(".npz") for name in names("synthetic"))


def test_a_changed_import_changes_the_fingerprint(tmp_path, monkeypatch):
    (tmp_path / "a.py").write_text("def f():\n    from ldae.b import g\n")
    (tmp_path / "b.py").write_text("g = 1\n")
    (tmp_path / "c.py").write_text("h = 1\n")
    monkeypatch.setattr(fingerprint, "PACKAGE", tmp_path)
    before = source_fingerprint("a.py")
    (tmp_path / "c.py").write_text("h = 2\n")
    assert source_fingerprint("a.py") == before
    (tmp_path / "b.py").write_text("g = 2\n")
    assert source_fingerprint("a.py") != before


def test_a_module_that_does_not_exist_is_an_error():
    with pytest.raises(FileNotFoundError):
        source_fingerprint("nets/no_such_module.py")
