"""A decomposition of a model that is in memory already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tqdm.auto import tqdm

from unweave.errors import UnweaveError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from workers.spd.progress import RunProgress

STAGES = {
    "target": "model", "train": "training", "harvest": "statistics", "evidence": "evidence", "store": "storing",
}  # fmt: skip


def make(
    home: Path,
    device: str,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    name: str,
    prompts: Sequence[str | tuple[str, str] | Mapping[str, Any]],
    sites: Sequence[str],
    size: Literal["quick", "good", "thorough"],
    replace: bool,
    settings: Mapping[str, Any],
) -> str:
    """Keep the model under home/models/NAME, decompose it and store the result. Returns its slug. Raises
    UnweaveError."""
    from workers.spd.config import ConfigError, parse_config
    from workers.spd.config.recipes import recipe
    from workers.spd.corpora.dataset_library import TextsError
    from workers.spd.method.training import DivergedError
    from workers.spd.run.decompose import decompose
    from workers.spd.targets.reading import TargetError

    out, folder = home / "artifacts" / name, home / "models" / name
    if out.exists() and not replace:
        raise UnweaveError(f"There is a decomposition “{name}” already. Give another name, or replace=True.")
    try:
        config = parse_config(
            {
                "name": name,
                "target": {"kind": "folder", "path": str(folder)},
                "sites": list(sites),
                "data": {"kind": "prompts", "prompts": [_prompt(prompt) for prompt in prompts]},
                **recipe("prompts", size),
                **settings,
            }
        )
        model.save_pretrained(folder, safe_serialization=True)
        tokenizer.save_pretrained(folder)
        with tqdm(total=config.steps, unit="step") as bar:

            def report(progress: RunProgress) -> None:
                bar.set_description(STAGES[progress.stage])
                bar.update(progress.step - bar.n)
                if progress.figures:
                    bar.set_postfix(
                        {key: f"{value:.3g}" for key, value in progress.figures.items()}, refresh=False
                    )

            decompose(config, out, home=home, device=device, report=report, resume=not replace)
    except (ConfigError, TargetError, TextsError, DivergedError, OSError) as error:
        raise UnweaveError(str(error)) from error
    return name


def _prompt(prompt: str | tuple[str, str] | Mapping[str, Any]) -> dict[str, Any]:
    """A text, a text with its answer, or whatever a config says of a prompt."""
    if isinstance(prompt, str):
        return {"text": prompt}
    return dict(prompt) if isinstance(prompt, Mapping) else {"text": prompt[0], "answer": prompt[1]}
