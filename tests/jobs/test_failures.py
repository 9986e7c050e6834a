"""Errors in words: a sentence and a way out, never the code's own words."""

from __future__ import annotations

import errno

import pytest

from tests.jobs.standin import TargetError
from workers.jobs.failures import sentence
from workers.spd.config import ConfigError


def _caused_by(cause: Exception) -> Exception:
    error = OSError("the checkpoint of step 10 could not be written")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TargetError("There is no network."), "There is no network."),
        (ConfigError("C is too large."), "C is too large."),
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
    found = sentence(error, job_id="tiny-1", device="cpu")
    assert said in found
    assert "secret" not in found
    assert found.endswith(".")
