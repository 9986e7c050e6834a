"""What a config gives reason to know before it is run, though nothing is wrong with it."""

from __future__ import annotations

from workers.spd.config.data import FactsData, PromptsConfig
from workers.spd.config.run import DecomposeConfig
from workers.spd.config.sources import InductionSource, TextModelSource


def cautions(config: DecomposeConfig) -> list[str]:
    """Plain sentences, none where there is nothing to know."""
    sentences: list[str] = []
    target, data = config.target, config.data
    if isinstance(target, InductionSource | TextModelSource):
        sentences.append(
            f"The target itself is trained first, in {target.steps:,} steps, unless an earlier run with the same "
            f"“target” has left it; the decomposition's {config.steps:,} steps follow. To shorten it too, lower "
            "“target.steps”."
        )
    if isinstance(data, PromptsConfig):
        splits = {prompt.split for prompt in data.prompts}
        if "held_out" not in splits:
            sentences.append(
                "No prompt is held out, so all evidence is measured on what was trained on. Give some prompts the "
                "split “held_out”: the same facts in other words."
            )
        if "bystander" not in splits:
            sentences.append(
                "No prompt is a bystander, so nothing tells what should stay as it is. Give prompts about something "
                "else the split “bystander”."
            )
    if isinstance(data, FactsData) and not any(relation.held_out for relation in data.relations):
        sentences.append(
            "No relation has held-out templates, so facts are measured on the templates that were trained on."
        )
    return sentences
