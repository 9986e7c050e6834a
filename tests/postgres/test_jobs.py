"""The queue and its workers, on PostgreSQL."""

import pytest

from tests.jobs.test_progress import *
from tests.jobs.test_queue import *
from tests.jobs.test_worker import (
    shared,
    test_a_job_runs_to_a_decomposition_in_the_gallery,
    test_a_running_job_stops_soon_when_cancelled_and_its_work_is_removed,
    test_a_worker_killed_in_mid_training_goes_on_from_its_checkpoint,
    test_the_worker_is_seen_idle_and_busy_with_its_job_and_device,
    test_two_workers_never_take_the_same_job,
)

__all__ = [
    "shared",
    "test_a_job_runs_to_a_decomposition_in_the_gallery",
    "test_a_running_job_stops_soon_when_cancelled_and_its_work_is_removed",
    "test_a_worker_killed_in_mid_training_goes_on_from_its_checkpoint",
    "test_the_worker_is_seen_idle_and_busy_with_its_job_and_device",
    "test_two_workers_never_take_the_same_job",
]
pytestmark = [pytest.mark.slow, pytest.mark.long]

for name in (
    "test_what_the_api_imports_brings_no_torch",
    "test_a_database_in_memory_is_refused",
):  # of no database
    del globals()[name]
