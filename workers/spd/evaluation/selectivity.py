"""The selectivity tests a config asks for: suppress groups of components, and see what a prompt's answer does."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from workers.spd.ablation.engine import AblationEngine
from workers.spd.artifact import Artifact, Check, Manifest, Split
from workers.spd.config import ConfigError, DecomposeConfig
from workers.spd.keys import ComponentKey
from workers.spd.method.decomposition import Decomposition
from workers.spd.prompts.batches import clean_batch
from workers.spd.queries import AblationQuery, Condition, Edit
from workers.spd.statistics.needed import suppressed
from workers.spd.statistics.prompt_statistics import PromptStatistics
from workers.spd.targets.target import Target
from workers.spd.targets.tokenizer import PromptTokenizer


def usable_checks(config: DecomposeConfig, tokenizer: PromptTokenizer) -> None:
    """Raises ConfigError now, not after hours, where a check's prompt has no place or its answer is not one token."""
    for place, check in enumerate(config.checks):
        count = len(tokenizer.encode(check.prompt, bos=config.bos))
        if not 1 <= count <= tokenizer.context_length:
            raise ConfigError(
                f"checks.{place}: the prompt has {count} tokens; between 1 and {tokenizer.context_length} are possible."
            )
        if tokenizer.token_id(check.answer) is None:
            raise ConfigError(
                f"checks.{place}: the answer “{check.answer}” is not a single token of this model."
            )


def unknown_groups(config: DecomposeConfig, statistics: PromptStatistics) -> list[str]:
    """A remark for every group that a check names and the harvest did not find."""
    known = [group.name for group in statistics.groups]
    named = dict.fromkeys(name for check in config.checks for name in check.groups)
    return [
        f"A check names the group “{name}”, which the harvest did not find, so it counts as missed. There are: "
        f"{', '.join(known[:8]) or 'none'}."
        for name in named
        if name not in known
    ]


def made_checks(
    config: DecomposeConfig,
    manifest: Manifest,
    statistics: PromptStatistics,
    tokenizer: PromptTokenizer,
    target: Target,
    work: Path,
    check_stop: Callable[[], None],
    untrained: Decomposition | None = None,
) -> list[Check]:
    """The config's selectivity tests, run by the live engine on what was stored. One that names a group which the
    harvest did not find counts as missed (see `unknown_groups`). `untrained`: the components as they were before
    training, to be suppressed beside them."""
    engine = AblationEngine.from_artifact(Artifact(work, manifest, ""), target)
    groups = {group.name: group.components for group in statistics.groups}
    splits: dict[str, Split] = {prompt.text: prompt.split for prompt in statistics.prompts}
    checks: list[Check] = []
    for check in config.checks:
        check_stop()
        keys = [ComponentKey.parse(key) for name in check.groups for key in groups.get(name, [])]
        ids = tokenizer.encode(check.prompt, bos=config.bos)
        answer = tokenizer.token_id(check.answer)
        assert answer is not None, f"the answer “{check.answer}” of a check is not one token"
        basket = Condition(tuple(Edit(key.site, key.index) for key in keys))
        query = AblationQuery(tuple(ids), (basket,), watch=(answer,), positions=(len(ids) - 1,))
        (result,) = engine.ablate(query)
        watched = result.positions[0].watched[0]
        before, after = watched.baseline.probability, watched.ablated.probability
        start = None
        if untrained is not None:
            batch = clean_batch(untrained.target, [ids], "answer")
            start = float(suppressed(untrained, batch, [keys])[0, 0, 0].softmax(-1)[answer])
        kept = after / before if before > 0 else math.nan  # nothing to fall from: no wish is met
        wanted, ok = "reported", True
        if check.at_least is not None:
            wanted, ok = f"falls by at least {check.at_least:.0%}", 1 - kept >= check.at_least
        elif check.at_most is not None:
            wanted, ok = f"moves by at most {check.at_most:.0%}", abs(kept - 1) <= check.at_most
        elif check.keeps is not None:
            wanted, ok = f"keeps at least {check.keeps:.0%}", kept >= check.keeps
        checks.append(
            Check(
                groups=list(check.groups),
                components=len(keys),
                prompt=check.prompt,
                answer=check.answer,
                role=check.role,
                split=splits.get(check.prompt, "bystander"),
                baseline=before,
                ablated=after,
                untrained=start,
                looked_at=check.looked_at,
                wanted=wanted,
                ok=ok and all(name in groups for name in check.groups),
            )
        )
    return checks
