"""Findings, collections, labels and jobs over HTTP, on PostgreSQL."""

from tests.api.test_findings import *
from tests.jobs.test_api import *
from tests.jobs.test_api import test_a_locked_database_is_told_at_once_and_nothing_is_lost as sqlites_own

del globals()[sqlites_own.__name__]
