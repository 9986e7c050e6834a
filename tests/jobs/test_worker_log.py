"""What a worker's log holds: each thing once, a failed job as one line."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

import httpx
import pytest
from huggingface_hub import HfApi

from workers.jobs.failures import JobError
from workers.spd.targets.fetching import TargetError, check_reachable
from workers.trainer.process import _is_news, _is_printed_here


def record(name: str, error: BaseException | None = None) -> logging.LogRecord:
    trace = (type(error), error, None) if error is not None else None
    return logging.LogRecord(name, logging.ERROR, "", 0, "said", (), trace)


@pytest.mark.parametrize("name", ["huggingface_hub.utils._http", "transformers.modeling_utils", "datasets"])
def test_what_a_library_prints_itself_is_not_printed_again(name: str) -> None:
    assert not _is_printed_here(record(name))


@pytest.mark.parametrize("name", ["unweave.worker", "dbos", "huggingface_hub_of_mine"])
def test_everything_else_is_printed(name: str) -> None:
    assert _is_printed_here(record(name))


def test_the_trace_of_a_failed_job_stands_in_its_own_log_only() -> None:
    assert not _is_news(record("dbos", JobError("The disk is full.")))
    assert _is_news(record("dbos", RuntimeError("lost")))
    assert _is_news(record("dbos"))


def raising(error: Exception) -> Any:
    def model_info(*_: Any, **__: Any) -> None:
        raise error

    return model_info


@pytest.mark.parametrize(
    "error", [httpx.ConnectError("no route"), httpx.ReadTimeout("slow"), ConnectionResetError("reset")]
)
def test_a_hub_that_cannot_be_reached_is_named_at_once(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HfApi, "model_info", raising(error))
    began = time.monotonic()
    with pytest.raises(
        TargetError, match="The Hugging Face hub cannot be reached, so “a-lab/none” cannot be fetched"
    ):
        check_reachable("a-lab/none", "main")
    assert time.monotonic() - began < 1


def test_what_the_hub_itself_refuses_is_left_to_the_loader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HfApi, "model_info", raising(ValueError("gated")))
    check_reachable("a-lab/none", "main")


def test_a_model_that_was_fetched_before_needs_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HfApi, "model_info", raising(httpx.ConnectError("no route")))
    monkeypatch.setattr(
        sys.modules["huggingface_hub"], "try_to_load_from_cache", lambda *_, **__: "/cache/config.json"
    )
    check_reachable("a-lab/known", "main")
