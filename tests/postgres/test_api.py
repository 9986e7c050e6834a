"""Findings, collections, labels and jobs over HTTP, on PostgreSQL."""

from tests.api.test_findings import *
from tests.jobs.test_api import *

for name in (
    "test_a_locked_database_is_told_at_once_and_nothing_is_lost",  # of SQLite
    "test_a_real_finding_replays_to_the_same_numbers",  # of the engine
):
    del globals()[name]
