"""SPEC.md is numbered without gaps, and code and tests cite only what stands there."""

import re
from pathlib import Path

import workers.spd

ROOT = Path(workers.spd.__file__).parent
NUMBERS = [int(number) for number in re.findall(r"^\*\*(\d+)\. ", (ROOT / "SPEC.md").read_text(), re.M)]


def cited(folder: Path) -> set[int]:
    found: set[int] = set()
    for path in folder.rglob("*.py"):
        for phrase in re.findall(r"SPEC ((?:\d+(?:, | to | and )?)+)", path.read_text()):
            found |= {int(number) for number in re.findall(r"\d+", phrase)}
            for first, last in re.findall(r"(\d+) to (\d+)", phrase):
                found |= set(range(int(first), int(last) + 1))
    return found


def test_invariants_are_numbered_from_one_without_gaps():
    assert sorted(NUMBERS) == list(range(1, max(NUMBERS) + 1))


def test_code_cites_only_what_stands_there_and_leaves_nothing_out():
    assert cited(ROOT) == set(NUMBERS)


def test_every_invariant_has_tests_that_cite_it():
    assert set(NUMBERS) - cited(Path(__file__).parent) <= {21}
