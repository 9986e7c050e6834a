"""From a finished artefact to what an engine runs: its components and CI functions on the target they belong to."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file

from workers.spd.artifact import Artifact, ArtifactError
from workers.spd.method.ci import CIFunctions
from workers.spd.method.components import Components
from workers.spd.method.decomposition import Decomposition
from workers.spd.targets.fetching import Report
from workers.spd.targets.target import Target, ensure_target, load_target


def load_decomposition(artifact: Artifact, target: Target) -> Decomposition:
    """The stored components and CI functions on a target. Raises ArtifactError where they do not belong together."""
    manifest = artifact.manifest
    if manifest.target.weights_hash != target.card.weights_hash:
        raise ArtifactError(
            f"“{artifact.name}” was made from other weights ({manifest.target.weights_hash[:12]}) than those of "
            f"{target.card.model.name} here ({target.card.weights_hash[:12]}); its ablations would mean nothing."
        )
    config = manifest.config
    stored = load_file(artifact.path / "components.safetensors")
    sites = [site.name for site in manifest.sites]
    target.attach(sites)
    try:
        components = Components(
            {site: stored[f"{site}.V"].float() for site in sites},
            {site: stored[f"{site}.U"].float() for site in sites},
            {site: stored[f"{site}.index"].tolist() for site in sites},
        )
        shapes = {site: (V.shape[0], V.shape[1]) for site, V in components.V.items()}
        ci = CIFunctions(shapes, config.ci, torch.Generator().manual_seed(0))
        ci.load_state_dict(
            {name: t.float() for name, t in load_file(artifact.path / "ci.safetensors").items()}
        )
    except (KeyError, RuntimeError) as error:
        raise ArtifactError(f"“{artifact.name}” is not whole: {error}.") from None
    components.to(target.device).requires_grad_(False)
    ci.to(target.device).requires_grad_(False)
    return Decomposition(
        target, components, ci, first_unmasked=config.reconstruction.first_position == "unmasked"
    )


def artifact_target(
    artifact: Artifact, home: Path, *, device: str = "cpu", report: Report = lambda p: None
) -> Target:
    """The target an artefact was made from: out of the artefact itself where it is small enough to ship, else from
    its source (fetched once). Raises TargetError."""
    own = artifact.path / "target"
    folder = own if own.is_dir() else ensure_target(artifact.manifest.target.source, home, report=report)
    return load_target(folder, device=device)
