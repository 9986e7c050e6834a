"""Errors in words: a sentence and a way out, never the code's own words."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from tests.jobs.conftest import config_of
from tests.jobs.standin import TargetError
from workers.jobs.failures import sentence
from workers.jobs.places import without_places
from workers.spd.config import ConfigError
from workers.spd.method.training import DivergedError


def _caused_by(cause: Exception) -> Exception:
    error = OSError("the checkpoint of step 10 could not be written")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TargetError("There is no network."), "There is no network."),
        (ConfigError("C is too large."), "C is too large."),
        (DivergedError(config_of(), 7, "the loss is"), "The training diverged at step 7 of 40"),
        (OSError(errno.ENOSPC, "No space left on device"), "The disk is full."),
        (_caused_by(ValueError("I/O error: No space left on device (os error 28)")), "The disk is full."),
        (MemoryError(), "There was not enough memory on cpu."),
        (
            RuntimeError("DefaultCPUAllocator: not enough memory: you tried"),
            "There was not enough memory on cpu.",
        ),
        (PermissionError(errno.EACCES, "denied", "/secret"), "may not be written"),
        (KeyError("secret"), "unexpected error (KeyError)"),
    ],
)
def test_an_error_becomes_a_sentence(error: Exception, said: str) -> None:
    found = sentence(error, device="cpu", home=Path("/srv/unweave"))
    assert said in found
    assert "secret" not in found
    assert found.endswith(".")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cannot read '/srv/unweave/targets/a/config.json'", "cannot read 'targets/a/config.json'"),
        ("no file in /srv/unweave.", "no file in the home folder."),
        ("no file in directory /data/secret/models/gpt2.", "no file in directory gpt2."),
        ("[Errno 2] No such file: “/etc/unweave/x.json”: gone", "[Errno 2] No such file: “x.json”: gone"),
        ("see https://example.org/a/b and GET /api/jobs", "see https://example.org/a/b and GET jobs"),
        ("tokens/s, train/held-out, model.layers.0", "tokens/s, train/held-out, model.layers.0"),
        ("/srv/unweave-old/artifacts/x", "x"),
    ],
)
def test_a_sentence_names_no_place_on_the_server_but_those_in_the_home_folder(text: str, said: str) -> None:
    assert without_places(text, Path("/srv/unweave")) == said


def test_a_target_that_cannot_be_read_is_told_without_the_path_of_the_server() -> None:
    error = TargetError("“gpt2” cannot be loaded: no file in directory /srv/unweave/models/gpt2.")
    found = sentence(error, device="cpu", home=Path("/srv/unweave"))
    assert found == "“gpt2” cannot be loaded: no file in directory models/gpt2."
