"""Published weights: Snakemake plans them in place of the trainings."""

import pytest
import yaml

pytestmark = pytest.mark.workflow
TRAININGS = {"autoencoder", "ldm", "ldae"}
SHAPE = {"volumes": {"shape": [32, 32, 32]}}  # their networks halve five times


def plan(project, **published) -> set[str]:
    """Rules of a run with these files of published weights."""
    config = SHAPE | {"published": published}
    (project.path / "published.yaml").write_text(yaml.safe_dump(config))
    return project.planned(config="published.yaml")


def test_published_weights_replace_only_the_trainings(project):
    trained = plan(project)
    assert TRAININGS | {"figure_training_curves"} <= trained
    for name in ("autoencoder.pth", "encoder.pth", "decoder.pth"):
        (project.path / name).touch()
    files = {part: f"{part}.pth" for part in ("autoencoder", "encoder", "decoder")}
    published = plan(project, **files)
    assert published - trained == {"published"}
    assert trained - published == TRAININGS | {"figure_training_curves"}


def test_published_weights_with_missing_file_or_setting_are_refused(project):
    config = project.path / "published.yaml"
    config.write_text(yaml.safe_dump(SHAPE | {"published": {"ldae": "best.ckpt"}}))
    failed = project.snakemake("-n", config="published.yaml", check=False)
    assert failed.returncode and "best.ckpt" in failed.stdout
    config.write_text(yaml.safe_dump(SHAPE | {"published": {"encoder": "encoder.pth"}}))
    failed = project.snakemake("-n", config="published.yaml", check=False)
    assert "published.autoencoder and published.decoder must be given" in failed.stdout
