"""What is kept of a running job."""

from __future__ import annotations

import socket
from functools import partial
from pathlib import Path

import pytest

from workers.jobs.database import connect, jobs_url, prepare
from workers.jobs.machine import Machine, this_machine
from workers.jobs.monitor import Monitor, Why, overall_fraction
from workers.jobs.progress import Point, Progress, ProgressStore

from .conftest import url_of
from .standin import RunProgress

HERE = Machine("lab a", 0)


@pytest.fixture
def store(home: Path) -> ProgressStore:
    url = jobs_url(url_of(home))
    engine = connect(url)
    prepare(url, engine)
    return ProgressStore(engine)


def _at(stage: str, step: int) -> Progress:
    return Progress(stage, step, 100, 0.5, 2.0, 25.0, "")


def test_a_first_start_is_no_crash_and_no_resumption(store: ProgressStore) -> None:
    row = store.begin("job", steps=100, from_checkpoint=False)
    assert (row.attempts, row.crashes, row.resumed, row.stage) == (1, 0, 0, "target")


def test_deaths_at_the_same_point_are_counted_until_the_job_gets_further(store: ProgressStore) -> None:
    store.begin("job", steps=100, from_checkpoint=False)
    store.write("job", _at("train", 30))
    assert store.begin("job", steps=100, from_checkpoint=True).crashes == 1
    store.write("job", _at("train", 30))
    assert store.begin("job", steps=100, from_checkpoint=True).crashes == 2
    store.write("job", _at("train", 31))
    row = store.begin("job", steps=100, from_checkpoint=True)
    assert (row.crashes, row.attempts, row.resumed) == (1, 4, 3)


def test_a_later_stage_counts_as_further(store: ProgressStore) -> None:
    store.begin("job", steps=100, from_checkpoint=False)
    store.write("job", _at("train", 100))
    assert store.begin("job", steps=100, from_checkpoint=True).crashes == 1
    store.write("job", _at("harvest", 100))
    assert store.rows(["job"])["job"].crashes == 0


def test_a_worker_that_left_on_purpose_did_not_crash(store: ProgressStore) -> None:
    store.begin("job", steps=100, from_checkpoint=False)
    store.leave("job")
    row = store.begin("job", steps=100, from_checkpoint=True)
    assert (row.crashes, row.resumed) == (0, 1)


def test_a_clean_exit_between_two_deaths_ends_the_row(store: ProgressStore) -> None:
    begin = partial(store.begin, "job", steps=100, from_checkpoint=True, machine=HERE)
    begin()
    assert [begin().crashes, begin().crashes] == [1, 2]
    store.leave("job")
    assert [begin().crashes, begin().crashes] == [0, 1]


def test_a_machine_that_was_started_anew_is_no_death_of_the_worker(store: ProgressStore) -> None:
    """However often; the same boot on, or another machine, is one."""
    begin = partial(store.begin, "job", steps=100, from_checkpoint=True)
    assert [begin(machine=Machine(f"lab {boot}", 0)).crashes for boot in "abcdef"] == [0] * 6
    assert begin(machine=Machine("lab f", 0)).crashes == 1
    assert begin(machine=Machine("other f", 0)).crashes == 2


def test_a_rescue_is_counted_by_itself_and_is_no_death(store: ProgressStore) -> None:
    begin = partial(store.begin, "job", steps=100, from_checkpoint=True, machine=HERE)
    begin()
    for rescues in range(1, 6):
        store.rescue("job")
        store.rescue("job")  # by another worker, in the same moment
        row = begin()
        assert (row.crashes, row.rescues) == (0, rescues)
    assert begin().crashes == 1
    assert begin().message == "Going on from the last checkpoint: its worker's process had ended."


def test_a_lack_of_memory_is_what_the_system_counted_and_no_guess(store: ProgressStore) -> None:
    begin = partial(store.begin, "job", steps=100, from_checkpoint=True)
    assert not begin(machine=Machine("lab a", 5)).out_of_memory
    assert not begin(machine=Machine("lab a", 5)).out_of_memory
    assert begin(machine=Machine("lab a", 6)).out_of_memory
    assert begin(machine=Machine("lab a", 6)).out_of_memory  # of one death in the row
    store.write("job", _at("train", 31))
    assert not begin(machine=Machine("lab a", 6)).out_of_memory
    assert not begin(machine=Machine("lab b", 9)).out_of_memory  # counted since another start


def test_this_machine_names_its_boot() -> None:
    assert this_machine() == this_machine()
    assert this_machine().boot.partition(" ")[0] == socket.gethostname()


def test_steps_done_again_after_a_crash_replace_their_part_of_the_curve(store: ProgressStore) -> None:
    store.begin("job", steps=100, from_checkpoint=False)
    store.write("job", _at("train", 30), [Point(step, {"kl": 1.0}) for step in (10, 20, 30)])
    store.write("job", _at("train", 25), [Point(15, {"kl": 2.0}), Point(25, {"kl": float("nan")})])
    assert store.curve("job") == [Point(10, {"kl": 1.0}), Point(15, {"kl": 2.0}), Point(25, {})]


def test_a_changed_table_is_made_anew(home: Path, store: ProgressStore) -> None:
    store.begin("job", steps=100, from_checkpoint=False)
    url = jobs_url(url_of(home))
    engine = connect(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE unweave_job_progress ADD COLUMN of_another_version TEXT")
    prepare(url, engine)
    assert store.rows(["job"]) == {}


@pytest.mark.parametrize(
    ("stage", "fraction", "whole"),
    [
        ("target", 0.0, 0.0),
        ("train", 0.0, 0.05),
        ("train", 0.5, 0.45),
        ("harvest", 1.0, 0.85),
        ("store", 1.0, 0.99),
    ],
)
def test_the_bar_runs_over_all_stages(stage: str, fraction: float, whole: float) -> None:
    assert overall_fraction(stage, fraction) == pytest.approx(whole)


def test_a_long_run_keeps_few_points_of_its_curve_and_always_the_last(store: ProgressStore) -> None:
    store.begin("job", steps=30_000, from_checkpoint=False)
    with Monitor("job", store, lambda: None, lambda _: None) as monitor:
        for step in range(1, 30_001):
            monitor.report(RunProgress("train", step, 30_000, step / 30_000, figures={"kl": 1 / step}))
    curve = store.curve("job")
    assert 250 <= len(curve) <= 400
    assert (curve[0].step, curve[-1].step) == (1, 30_000)


def test_a_job_that_is_no_longer_wanted_is_told_to_stop_once_and_for_all(store: ProgressStore) -> None:
    store.begin("job", steps=1, from_checkpoint=False)
    answers = iter([None, Why.CANCELLED, None])
    with Monitor("job", store, lambda: next(answers, None), lambda _: None, interval=0.01) as monitor:
        monitor._stop.wait(5)
        assert monitor.should_stop()
        assert monitor.why is Why.CANCELLED
