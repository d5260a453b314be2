"""Stands in for the program ``clinica`` where a test needs its failures, in milliseconds.

The real one takes seconds a call and cannot be made to fail at will. This one chooses every scan of
MPRAGEMETA, finds files as Clinica does, and obeys the word in a NIfTI's header: ``crash``, ``lost``
(no image, and a good end), ``cut`` (an image that ends too early), ``early`` (a crash before it has
chosen). The file ``calls`` beside it has a line a call: the subjects.
"""

import csv
import gzip
import sys
from pathlib import Path

MONTHS = {"ADNI Screening": ("bl", 0), "ADNI1/GO Month 6": ("m06", 6)}
HEAD = [
    "Subject_ID", "VISCODE", "Visit", "Sequence", "Scan_Date", "Image_ID", "Field_Strength",
    "Original", "Path",
]  # fmt: skip


def install(folder: Path) -> Path:
    """Put executables ``clinica`` and ``dcm2niix`` into ``folder``."""
    folder.mkdir()
    here, calls = str(Path(__file__).parents[1]), str(folder / "calls")
    clinica = (
        f"#!{sys.executable} -S\nimport sys\nsys.path.insert(0, {here!r})\n"
        f"from helpers import clinica\nclinica.main({calls!r})\n"
    )
    for name, text in (("clinica", clinica), ("dcm2niix", "#!/bin/sh\necho version v1\n")):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


def write_tsv(path: Path, head: list, rows: list) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join("\t".join(map(str, row)) + "\n" for row in [head, *rows]))


def convert(images: Path, tables: Path, bids: Path, subjects: list[str]) -> None:
    with (tables / "MPRAGEMETA.csv").open() as stream:
        scans = [row for row in csv.DictReader(stream) if row["SubjectID"] in subjects]
    expected, found = [], []
    for scan in scans:
        code, month = MONTHS[scan["Visit"]]
        files = sorted((images / scan["SubjectID"]).rglob(f"*_I{scan['ImageUID']}.*"))
        words = [scan["SubjectID"], code, scan["Visit"], "MP_RAGE", scan["ScanDate"]]
        words += [scan["ImageUID"], scan["MagStrength"], "True", files[0] if files else ""]
        expected.append(words)
        found.append((f"sub-ADNI{scan['SubjectID'].replace('_', '')}", f"ses-M{month:03d}", files))
    contents = [(s, v, files[0].read_bytes()) for s, v, files in found if files]
    if any(b"early" in content[148:228] for _, _, content in contents):
        raise KeyError(f"{images}/somewhere: no visit")
    write_tsv(bids / "conversion_info/v0/t1_paths.tsv", HEAD, expected)
    for subject, session, content in contents:
        word = content[148:228]
        if b"crash" in word:
            raise ValueError(f"cannot read {images}/secret.nii: bad header")
        path = bids / subject / session / "anat" / f"{subject}_{session}_T1w.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        if b"lost" not in word:
            zipped = gzip.compress(content)
            path.write_bytes(zipped[:-40] if b"cut" in word else zipped)
        scans_tsv = bids / subject / session / f"{subject}_{session}_scans.tsv"
        write_tsv(scans_tsv, ["filename"], [[f"anat/{path.name}"]])
    # Like pandas: one missing value turns a column into decimal numbers.
    names = [f"sub-ADNI{subject.replace('_', '')}" for subject in subjects]
    complete = not any(name.endswith("9") for name in names)
    genes = [f"{int(name[-1]) % 3}{'' if complete else '.0'}" for name in names]
    rows = [[n, "M", "n/a" if n.endswith("9") else g, 3] for n, g in zip(names, genes, strict=True)]
    write_tsv(bids / "participants.tsv", ["participant_id", "sex", "apoe4", "apoe_gen1"], rows)
    for name in names:
        visits = [[1, "ses-M000", "CN", "30.0"], [1, "ses-M006", "MCI", "28.5"]]
        head = ["RID", "session_id", "diagnosis", "MMSE"]
        if len(names) > 2:  # an optional table has rows of one of them, and none of this subject
            head, visits = [*head, "moca"], [[*visit, ""] for visit in visits]
        write_tsv(bids / name / f"{name}_sessions.tsv", head, visits)


def main(calls: str) -> None:
    if sys.argv[1:] == ["--version"]:
        print("clinica, version 0.12.0")
        return
    images, tables, bids = map(Path, sys.argv[3:6])
    subjects = Path(sys.argv[sys.argv.index("-sl") + 1]).read_text().split()
    with Path(calls).open("a") as stream:
        stream.write(f"{' '.join(subjects)}\n")
    convert(images, tables, bids, subjects)
