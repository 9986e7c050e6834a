"""docs/python.md: what it shows runs, on the real weights."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

TEXT = (Path(__file__).resolve().parents[2] / "docs/python.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
ELSEWHERE = re.compile(r"uw\.connect\(|uw\.decompose\(")
"""What needs a server or minutes; tests/api/test_library.py has both."""


@pytest.mark.real
def test_the_code_of_the_page_runs_and_suppresses_the_fact(
    weights_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("UNWEAVE_HOME", str(weights_home))
    monkeypatch.setenv("UNWEAVE_DATABASE_URL", f"sqlite:///{tmp_path}/unweave.db")
    names: dict[str, Any] = {}
    for block in BLOCKS:
        code = compile(block, "docs/python.md", "exec")
        if not ELSEWHERE.search(block):
            exec(code, names)
    before, after = names["woods"].probability("␣golf")
    assert after < before / 10
    before, after = names["kobe"].probability("␣basketball")
    assert after == pytest.approx(before, rel=0.1)
    assert "golf: " in capsys.readouterr().out
