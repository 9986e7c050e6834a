"""From a finished artefact to what an engine runs: its components and CI functions on the target they belong to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Shaped
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from workers.spd.artifact import Artifact, ArtifactError
from workers.spd.method.ci import CIFunctions
from workers.spd.method.components import Components
from workers.spd.method.decomposition import Decomposition
from workers.spd.targets.fetching import Report
from workers.spd.targets.target import Target, ensure_target, load_target, target_of
from workers.spd.targets.target_check import check_target
from workers.spd.targets.tokenizer import PromptTokenizer


def load_decomposition(artifact: Artifact, target: Target) -> Decomposition:
    """The stored components and CI functions on a target. Raises ArtifactError where they do not belong together."""
    manifest = artifact.manifest
    wanted, here = manifest.target, target.card
    if wanted.weights_hash != here.weights_hash:
        raise ArtifactError(
            f"“{artifact.name}” was made from other weights ({wanted.weights_hash[:12]}) than those of "
            f"{here.model.name} here ({here.weights_hash[:12]}); its ablations would mean nothing."
        )
    if not wanted.fits(here):
        raise ArtifactError(
            f"“{artifact.name}” was made from {here.model.name} under another config or attention implementation than "
            "the one here, so the same weights compute something else; its ablations would mean nothing. Restore the "
            "config.json it was made with, or decompose the model again."
        )
    config = manifest.config
    sites = [site.name for site in manifest.sites]
    try:
        stored = load_file(artifact.path / "components.safetensors")
        target.attach(sites)
        for site in manifest.sites:
            d_out, d_in = target.weight(site.name).shape
            if (d_in, d_out) != (site.d_in, site.d_out):
                raise ArtifactError(
                    f"“{artifact.name}” has {site.name} as {site.d_in} × {site.d_out}; it is {d_in} × {d_out}."
                )
        components = Components(
            {site: stored[f"{site}.V"].float() for site in sites},
            {site: stored[f"{site}.U"].float() for site in sites},
            {site: stored[f"{site}.index"].tolist() for site in sites},
        )
        shapes = {site: (V.shape[0], V.shape[1]) for site, V in components.V.items()}
        functions = load_file(artifact.path / "ci.safetensors")
        with torch.device("meta"):  # shapes alone: a config may ask for more memory than there is
            wanted = CIFunctions(shapes, config.ci, torch.Generator().manual_seed(0)).state_dict()
        if odd := [n for n in wanted.keys() | functions.keys() if _shape(wanted, n) != _shape(functions, n)]:
            raise ArtifactError(
                f"“{artifact.name}” is not whole: {min(odd)[:80]} of ci.safetensors does not fit the config."
            )
        ci = CIFunctions(shapes, config.ci, torch.Generator().manual_seed(0))
        ci.load_state_dict({name: tensor.float() for name, tensor in functions.items()})
    except (KeyError, RuntimeError, AttributeError, TypeError, OSError, SafetensorError) as error:
        raise ArtifactError(f"“{artifact.name}” is not whole: {error}.") from None
    components.to(target.device).requires_grad_(False)
    ci.to(target.device).requires_grad_(False)
    return Decomposition(
        target, components, ci,
        first_unmasked=config.reconstruction.first_position == "unmasked",
        names=_names(artifact) if config.reconstruction.remainder == "subject" else None,
    )  # fmt: skip


def _names(artifact: Artifact) -> list[list[int]]:
    """The tokens of the run's subjects, as they begin a prompt and as they stand in one."""
    card = artifact.manifest.target
    tokenizer = PromptTokenizer.from_file(
        artifact.path / "tokenizer.json",
        bos_token_id=card.bos_token_id,
        context_length=card.model.context_length,
    )
    names = artifact.manifest.config.subjects
    return [tokenizer.encode(space + name, bos=False) for name in names for space in ("", " ")]


def _shape(tensors: Mapping[str, Shaped[Tensor, ...]], name: str) -> tuple[int, ...] | None:
    return tuple(tensors[name].shape) if name in tensors else None


def artifact_target(
    artifact: Artifact, home: Path, *, device: str = "cpu", report: Report = lambda p: None
) -> Target:
    """The target an artefact was made from: out of the artefact itself where it is small enough to ship, else from
    its source (fetched once). Raises TargetError."""
    return load_target(artifact_folder(artifact, home, report=report), device=device)


def artifact_folder(artifact: Artifact, home: Path, *, report: Report = lambda p: None) -> Path:
    """The folder with the model an artefact was made from. Raises TargetError."""
    own, card = artifact.path / "target", artifact.manifest.target
    if own.is_dir():
        check_target(own)
        return own
    return target_of(card, home) or ensure_target(card.source, home, report=report)
