"""What follows a finished decomposition by itself: a run over running text gets a harvest."""

from __future__ import annotations

import logging
from typing import Any

from workers.jobs.queue import HarvestWaitsError, JobQueue, QueueFullError
from workers.spd.config import ConfigError, CorpusData, DecomposeConfig, parse_config
from workers.spd.statistics.config import HarvestConfig

log = logging.getLogger("unweave.jobs")


def harvest_of(config: DecomposeConfig) -> HarvestConfig | None:
    """Over the text that the run held out, or over its files; None for a run over prompts, which has its statistics."""
    data = config.data
    if not isinstance(data, CorpusData):
        return None
    if data.texts is not None:
        return HarvestConfig(held_out=True, unit="text")
    return None if data.path is None else HarvestConfig(path=data.path, glob=data.glob, unit="text")


def follow(queue: JobQueue, data: dict[str, Any], slug: str, digest: str) -> str | None:
    """Put the harvest of a run that is published in the queue. Returns its job, if there is one: that it cannot be had
    now, with a full queue, is no fault of the run."""
    try:
        config = harvest_of(parse_config(data))
        if config is None:
            return None
        return queue.enqueue_harvest(
            config, name=slug, artifact_hash=digest, place=f"home/{slug}", allowed=True
        ).id
    except (ConfigError, QueueFullError, HarvestWaitsError, OSError) as error:
        log.warning("no harvest of %s: %s", slug, error)
        return None
