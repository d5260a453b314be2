"""Files: exact round trip of tables, and atomic writing."""

import subprocess
import sys

import pandas as pd

from ldae.files import atomic, read_table, write_table

READ = (
    "import sys; from ldae.files import read_table; print(read_table(sys.argv[1])['image_hash'][0])"
)


def test_read_table_reads_a_number_like_checksum_as_text(tmp_path):
    """One SHA-256 in about a thousand is. As the first value of its column it crashed Python."""
    checksum = "7e2147483648a"  # its exponent overflows 32 bits
    write_table(pd.DataFrame({"image_hash": [checksum]}), tmp_path / "scans.tsv")
    command = [sys.executable, "-c", READ, str(tmp_path / "scans.tsv")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, checksum)


def test_table_numbers_round_trip_exactly(tmp_path):
    write_table(pd.DataFrame({"value": [0.1, 1 / 3, 1e-300]}), tmp_path / "t.tsv", digits=17)
    assert read_table(tmp_path / "t.tsv")["value"].tolist() == [0.1, 1 / 3, 1e-300]


def test_atomic_writers_of_one_file_use_separate_temporary_files(tmp_path):
    """Also if both have the same process number, which two nodes may assign."""
    with atomic(tmp_path / "x.nii.gz") as one, atomic(tmp_path / "x.nii.gz") as other:
        assert one != other
        assert one.name.endswith("-x.nii.gz")
        one.write_text("one")
        other.write_text("other")
    assert (tmp_path / "x.nii.gz").read_text() == "one"
    assert len(list(tmp_path.iterdir())) == 1
