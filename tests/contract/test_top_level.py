"""The files at the top of the repository: exactly these, and what they name exists and agrees."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
TOP = {
    "backend", "workers", "frontend", "tests", "docs",
    "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "CITATION.cff", "LICENSE",
    "pyproject.toml", "constraints.txt", "Makefile", "docker-compose.yml",
    ".ci", ".github", ".gitignore", ".pre-commit-config.yaml",
}  # fmt: skip
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def targets() -> set[str]:
    """What `make` can be asked for."""
    return set(re.findall(r"^([a-z0-9-]+):", read("Makefile"), re.MULTILINE))


def test_the_top_level_holds_exactly_these() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert {Path(file).parts[0] for file in files.splitlines() if (ROOT / file).exists()} == TOP


def test_one_version_everywhere_and_the_changelog_has_it_below_what_is_unreleased() -> None:
    version = PROJECT["version"]
    assert json.loads(read("frontend/package.json"))["version"] == version
    assert yaml.safe_load(read("CITATION.cff"))["version"] == version
    sections = re.findall(r"^## (.+)$", read("CHANGELOG.md"), re.MULTILINE)
    assert sections[:2] == ["Unreleased", version]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", section) for section in sections[1:])


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_the_paths_and_targets_that_a_page_names_exist(name: str) -> None:
    text = read(name)
    links = {link.split("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link}
    paths = {path for path in re.findall(r"`([\w./-]+/[\w./-]*)`", text) if path[0] not in "/."}
    prefixes = (ROOT, ROOT / "workers/spd")
    missing = {path for path in links | paths if path and not any((top / path).exists() for top in prefixes)}
    assert not missing
    assert set(re.findall(r"`make ([a-z0-9-]+)", text)) <= targets()


def test_ci_runs_the_script_that_everyone_can_run() -> None:
    steps = yaml.safe_load(read(".github/workflows/ci.yml"))["jobs"]["run"]["steps"]
    assert [step["run"] for step in steps if "run" in step] == [".ci/run"]
    commands = [line for line in read(".ci/run").splitlines() if line.startswith("make ")]
    assert commands == ["make check", "make test"]


def test_every_hook_runs_a_tool_of_this_repository() -> None:
    declared = {re.split(r"[^\w-]", name)[0] for name in PROJECT["optional-dependencies"]["test"]}
    provides = {"lint-imports": "import-linter"}
    for repository in yaml.safe_load(read(".pre-commit-config.yaml"))["repos"]:
        assert repository["repo"] == "local"
        for hook in repository["hooks"]:
            assert hook["language"] == "system", hook["id"]
            tool = re.match(r"\.venv/bin/([\w-]+)(?: -m ([\w.]+))?", hook["entry"])
            if tool is None:
                assert hook["entry"].startswith("sh -c 'cd frontend && npm run ")
            elif tool[1] == "python":
                module = str(tool[2]).split(".")[0]
                assert module in declared or (ROOT / module).is_dir(), hook["id"]
            else:
                assert provides.get(tool[1], tool[1]) in declared, hook["id"]


def test_every_check_of_make_check_has_its_recipe() -> None:
    named = re.search(r"^CHECKS := (.+)$", read("Makefile"), re.MULTILINE)
    assert named is not None
    assert set(named[1].split()) == {name for name in targets() if name.startswith("check-")}
