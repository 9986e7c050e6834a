"""The worker process: takes decomposition jobs from the queue, one at a time, until stopped."""

from __future__ import annotations

import importlib
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import NoReturn, cast

from dbos import DBOS, DBOSPortableJSONSerializer
from dbos import error as dbos_error
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from workers.jobs import database
from workers.jobs.failures import JobError
from workers.jobs.fitting import take_what_fits
from workers.jobs.heartbeat import Heartbeat
from workers.jobs.machine import device_memory
from workers.jobs.progress import ProgressStore
from workers.jobs.queue import JobQueue
from workers.jobs.runner import JobRunner, Method, has_checkpoint
from workers.jobs.store import Mirror, Store, StoreError
from workers.jobs.workflow import register
from workers.trainer.rescue import SILENT_SECONDS, Rescue
from workers.trainer.slots import DeviceTakenError, claim, claim_device

POLL_SECONDS = 0.5
FAILED = ("ERROR", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")
GRACE_SECONDS = 20.0
MAINTENANCE_SECONDS = 5.0
NICENESS = 5
"""Beside a server: training gives way to the ablations that people wait for."""

log = logging.getLogger("unweave.worker")


class WorkerProcess:
    """One worker on one device. `method` names the module whose `decompose` is used; a worker whose
    heart does not beat for `silent_seconds` is taken for lost."""

    def __init__(
        self,
        home: Path,
        database_url: str,
        device: str = "cpu",
        *,
        memory_bytes: int | None = None,
        store: str | None = None,
        method: str = "workers.spd.run.decompose",
        silent_seconds: float = SILENT_SECONDS,
    ) -> None:
        self.home, self.device, self._silent_seconds = home, device, silent_seconds
        self._database_url, self._url = database_url, database.jobs_url(database_url)
        self._method = method
        self._memory, self._store = memory_bytes, store
        self._leaving = threading.Event()
        self._idle = threading.Event()
        self._idle.set()
        self._look_again = threading.Event()

    def run(self, *, supervised: bool = False) -> NoReturn:
        """Work until SIGTERM or SIGINT, or with `supervised` until standard input ends; then end the process.

        Exit code 0: stopped; a job in progress was left at a checkpoint, for the next worker. 1: something broke
        (the log says what), and starting again may help.
        """
        logging.getLogger("dbos").addFilter(_is_news)
        for handler in logging.getLogger().handlers:
            handler.addFilter(_is_printed_here)
        code = 0
        try:
            self._work(supervised)
        except (DeviceTakenError, StoreError) as error:
            log.error("%s", error)
            code = 1
        except OperationalError as error:
            log.error("the database cannot be used: %s", error.orig)
            code = 1
        except Exception:
            log.exception("the worker cannot continue")
            code = 1
        logging.shutdown()
        # Not sys.exit: it would wait for the threads of a run that does not stop, and of a DBOS that broke. What they
        # have not written is what a crash would lose, and the next worker resumes from the last checkpoint.
        os._exit(code)

    def _work(self, supervised: bool) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._told_to_stop)
        if supervised:
            os.nice(NICENESS)
            threading.Thread(target=self._leave_with_parent, name="parent", daemon=True).start()
        slot = claim(self.home)
        mirror = Mirror(self.home, Store(self._store)) if self._store is not None else None
        self._gpu = claim_device(self.home, self.device)
        engine = database.connect(self._url)
        database.prepare(self._url, engine)
        database.wait_for_postgresql()
        memory = device_memory(self.device) if self._memory is None else self._memory
        heartbeat = Heartbeat(engine, slot.executor_id, self.device, memory)
        runner = JobRunner(
            self.home,
            self.device,
            ProgressStore(engine),
            lambda: cast(Method, importlib.import_module(self._method)),
            mirror,
        )
        if mirror is not None:
            mirror.start()
        dbos = self._launch(runner, slot.executor_id, heartbeat)
        heartbeat.start()
        log.info(
            "worker %s on %s is ready for jobs of up to %.1f GiB",
            slot.executor_id,
            self.device,
            memory / 2**30,
        )

        rescue = Rescue(
            dbos, engine, slot.executor_id, runner, lambda: heartbeat.job_id, self._silent_seconds
        )
        while not self._leaving.is_set():
            self._maintain(runner, rescue)
            self._look_again.wait(MAINTENANCE_SECONDS)
            self._look_again.clear()

        if not self._idle.wait(GRACE_SECONDS):
            log.warning("the job did not stop in time; it resumes from its last checkpoint")
            if heartbeat.job_id is not None:
                runner.store.leave(heartbeat.job_id)
        heartbeat.stop()
        log.info("worker %s leaves", slot.executor_id)

    def _launch(self, runner: JobRunner, executor_id: str, heartbeat: Heartbeat) -> DBOS:
        dbos = DBOS(
            config={
                "name": database.APPLICATION,
                "system_database_url": self._url,
                "application_version": database.PROTOCOL,
                "executor_id": executor_id,
                "serializer": DBOSPortableJSONSerializer(),
                "notification_listener_polling_interval_sec": 5.0,
                "log_level": "WARNING",
                "enable_otlp": False,
            }
        )

        def busy(job_id: str | None) -> None:
            heartbeat.works_on(job_id)
            if job_id is None:
                self._idle.set()
                self._look_again.set()
            else:
                self._idle.clear()

        queue = JobQueue(self.home, self._database_url)
        register(runner, queue, executor_id, self._leaving, busy)
        take_what_fits(heartbeat.memory_bytes)
        DBOS.launch()
        DBOS.register_queue(
            database.QUEUE,
            worker_concurrency=1,
            partition_worker_concurrency=1,
            polling_interval_sec=POLL_SECONDS,
            on_conflict="always_update",
        )
        return dbos

    def _maintain(self, runner: JobRunner, rescue: Rescue) -> None:
        """Queue the jobs again that nobody works on; remove the work of jobs that have ended."""
        try:
            rescue.look()
            for job_id in runner.leftovers():
                status = DBOS.get_workflow_status(job_id)
                if status is not None and status.status in ("ENQUEUED", "DELAYED", "PENDING"):
                    continue
                # A job that failed keeps its checkpoint until it is resumed or thrown away.
                failed = status is not None and status.status in FAILED
                if not (failed and has_checkpoint(runner.folder(job_id))):
                    runner.clear(job_id)
        except (SQLAlchemyError, dbos_error.DBOSException, OSError) as error:
            log.warning("maintenance has to wait: %s", error)

    def _told_to_stop(self, _signal: int, _frame: FrameType | None) -> None:
        self._leaving.set()
        self._look_again.set()

    def _leave_with_parent(self) -> None:
        while sys.stdin.buffer.read(1):
            time.sleep(0.01)
        log.info("the process that started this worker is gone")
        self._told_to_stop(signal.SIGTERM, None)


def _is_news(record: logging.LogRecord) -> bool:
    """DBOS logs a trace of a job that was cancelled, which is no error here, or that failed: its own log has that."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, dbos_error.DBOSAwaitedWorkflowCancelledError | JobError)


def _is_printed_here(record: logging.LogRecord) -> bool:
    """These libraries print what they log themselves; handed on, every line would stand twice."""
    return record.name.partition(".")[0] not in ("huggingface_hub", "transformers", "datasets")
