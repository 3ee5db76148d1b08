"""The vectors are what their generator writes, and the fuzzer's seeds are some of them."""

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
MAKE = ROOT / "tests" / "vectors" / "make.py"


def test_the_file_is_what_its_generator_writes():
    made = subprocess.run([sys.executable, "-B", MAKE], check=True, capture_output=True).stdout
    assert made == (ROOT / "tests" / "vectors" / "sealing.json").read_bytes()


def test_the_seeds_are_what_the_generator_writes(tmp_path):
    subprocess.run([sys.executable, "-B", MAKE, "--seeds", tmp_path], check=True)
    kept = ROOT / "tests" / "fuzz" / "corpus" / "seal"
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {p.name: p.read_bytes() for p in kept.iterdir()}
