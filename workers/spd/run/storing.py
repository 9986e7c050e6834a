"""What a run leaves in its folder, before it is sealed, and the remarks its reader should know."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from workers.spd.artifact import SiteCard, write_json
from workers.spd.config import AttentionCI, DecomposeConfig
from workers.spd.method.adaptation import adaptation_notes
from workers.spd.method.components import Components
from workers.spd.method.decomposition import Decomposition
from workers.spd.method.training import Trainer
from workers.spd.prompts.training_data import TrainingData
from workers.spd.statistics.prompt_statistics import PromptStatistics
from workers.spd.targets.sites import tied_notes

SHIPPED_TARGET_BYTES = 4 * 2**20


def store_trained(config: DecomposeConfig, decomposition: Decomposition, work: Path, folder: Path) -> None:
    """Components, importance functions and tokenizer: what training made, before anything is measured."""
    dtype = {"float32": torch.float32, "float16": torch.float16}[config.stored_dtype]
    components, target = decomposition.components, decomposition.target
    tensors = {}
    for site in components.sites:
        tensors[f"{site}.V"] = components.V[site].detach().cpu().to(dtype).contiguous()
        tensors[f"{site}.U"] = components.U[site].detach().cpu().to(dtype).contiguous()
        tensors[f"{site}.index"] = torch.tensor(components.index[site], dtype=torch.int64)
    functions = {
        name: value.detach().cpu().to(dtype).contiguous()
        for name, value in decomposition.ci.state_dict().items()
    }
    try:
        save_file(tensors, work / "components.safetensors")
        save_file(functions, work / "ci.safetensors")
    except SafetensorError as error:  # its own words for a full disk
        raise OSError(f"components and importance functions could not be written: {error}") from error
    assert target.tokenizer_path is not None
    shutil.copyfile(target.tokenizer_path, work / "tokenizer.json")
    if (folder / "model.safetensors").stat().st_size <= SHIPPED_TARGET_BYTES:
        shutil.copytree(folder, work / "target", dirs_exist_ok=True)


def store_statistics(statistics: PromptStatistics, work: Path) -> None:
    """What each component does on the run's prompts."""
    write_json(work / "harvest" / "components.json", statistics.columns.model_dump())
    write_json(work / "harvest" / "prompts.json", [prompt.model_dump() for prompt in statistics.prompts])
    write_json(work / "harvest" / "groups.json", [group.model_dump() for group in statistics.groups])


def site_cards(components: Components, trained: Mapping[str, int]) -> list[SiteCard]:
    """The decomposed matrices. trained: components each began with or grew."""
    return [
        SiteCard(
            name=site, d_in=components.V[site].shape[0], d_out=components.U[site].shape[1],
            trained=trained[site], kept=components.index[site],
        )
        for site in components.sites
    ]  # fmt: skip


def remarks(
    config: DecomposeConfig, trainer: Trainer, data: TrainingData, statistics: PromptStatistics
) -> list[str]:
    """What a reader of the result should know: tied weights, the CI functions' size and cost, what was trained on."""
    batch, decomposition = data.everything(), trainer.decomposition

    def seconds(run: Callable[[], object]) -> float:
        run()
        started = time.perf_counter()
        run()
        return time.perf_counter() - started

    with torch.no_grad():
        cost = seconds(lambda: decomposition.importances(batch.inputs, batch.valid))
        cost /= seconds(lambda: decomposition.target.logits(batch.tokens, batch.keep))
    kind = config.ci.kind + (f", scope {config.ci.scope}" if isinstance(config.ci, AttentionCI) else "")
    remarks = [
        f"The causal importance functions ({kind}) have {trainer.ci.parameter_count():,} parameters; evaluating them "
        f"costs {cost:.2g} times the target's own forward pass on the run's prompts."
    ]
    remarks += data.notes()
    if config.reconstruction.distance == "mse":
        remarks.append(
            "Trained on the mean squared difference of log-probabilities; the evidence is KL(target ‖ masked) in nats."
        )
    if statistics.unasked:
        remarks.append(
            f"{statistics.unasked:,} alive components, those with the lowest mean importance, were not suppressed "
            "alone; their effect stands as 0 and no group names them."
        )
    if config.adapt is not None:
        remarks += adaptation_notes(trainer.adaptations, config.adapt.prune_below, config.adapt.positions)
    return remarks + tied_notes(trainer.target, trainer.sites)
