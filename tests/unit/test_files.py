"""Tables are read as they were written."""

import subprocess
import sys

import pandas as pd

from ldae.files import atomic, read_table, write_table

READ = (
    "import sys; from ldae.files import read_table; print(read_table(sys.argv[1])['image_hash'][0])"
)


def test_a_checksum_that_begins_like_a_number_is_text(tmp_path):
    """About one SHA-256 in a thousand does; first in its column it crashed Python."""
    odd = "7e2147483648a"  # its exponent overflows 32 bits
    write_table(pd.DataFrame({"image_hash": [odd]}), tmp_path / "scans.tsv")
    command = [sys.executable, "-c", READ, str(tmp_path / "scans.tsv")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, odd)


def test_numbers_come_back_exactly(tmp_path):
    write_table(pd.DataFrame({"value": [0.1, 1 / 3, 1e-300]}), tmp_path / "t.tsv", digits=17)
    assert read_table(tmp_path / "t.tsv")["value"].tolist() == [0.1, 1 / 3, 1e-300]


def test_two_writers_of_a_file_do_not_write_into_each_other(tmp_path):
    """Also with the same process number, as two nodes may give."""
    with atomic(tmp_path / "x.nii.gz") as one, atomic(tmp_path / "x.nii.gz") as other:
        assert one != other
        assert one.name.endswith("-x.nii.gz")
        one.write_text("one")
        other.write_text("other")
    assert (tmp_path / "x.nii.gz").read_text() == "one"
    assert len(list(tmp_path.iterdir())) == 1
