"""Decompositions on a Hugging Face hub: a repository each, with a card that shows its evidence."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from backend.commands.exchange import ExchangeError, Imported, bring_in, contents
from backend.services.entries import Entry
from backend.services.evidence import Evidence

NAME = re.compile(r"(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@(?P<revision>[\w./-]+))?")
"""`owner/name`, or `owner/name@revision`."""
CARD = "README.md"
BROUGHT = "from-hub"


def push(
    entry: Entry,
    repo: str,
    *,
    private: bool | None = None,
    harvests: Sequence[Path] = (),
    labels: Sequence[dict[str, Any]] = (),
) -> str:
    """Put a decomposition into a repository, in place of what it held; the address of the commit. The token comes from
    the environment (HF_TOKEN) or `hf auth login`. Raises ExchangeError."""
    from huggingface_hub import HfApi

    found = NAME.fullmatch(repo)
    if found is None or found["revision"] is not None:
        raise ExchangeError(f"“{repo}” is not owner/name.")
    with tempfile.TemporaryDirectory(prefix="unweave-push-") as scratch, _sentences(repo):
        for name, content in contents(entry.artifact, harvests, labels):
            place = Path(scratch, name)
            place.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Path):
                shutil.copyfile(content, place)
            else:
                place.write_text(content, encoding="utf-8")
        Path(scratch, CARD).write_text(card(entry, repo), encoding="utf-8")
        api = HfApi(library_name="unweave")
        api.create_repo(repo, private=private, exist_ok=True)
        said = f"Decomposition {entry.hash[:12]}"
        done = api.upload_folder(
            repo_id=repo, folder_path=scratch, commit_message=said, delete_patterns=["*"]
        )
        return done.commit_url


def pull(name: str, home: Path, *, replace: bool, most_bytes: int) -> Imported:
    """Bring a decomposition of a hub into the home folder, verified as any other. Raises ExchangeError."""
    from huggingface_hub import HfApi

    found = NAME.fullmatch(name)
    if found is None:
        raise ExchangeError(f"“{name}” is not owner/name or owner/name@revision.")
    repo, revision = found["repo"], found["revision"]
    with tempfile.TemporaryDirectory(prefix="unweave-pull-") as scratch, _sentences(name):
        api = HfApi(library_name="unweave")
        info = api.model_info(repo, revision=revision, files_metadata=True)
        size = sum(file.size or 0 for file in info.siblings or [])
        if size > most_bytes:
            raise ExchangeError(
                f"{name} holds {size / 2**20:,.0f} MB; the most is {most_bytes / 2**20:,.0f} MB. Raise "
                "UNWEAVE_MAX_IMPORT_BYTES to pull it."
            )
        patterns = ["*.json", "*.jsonl", "*.safetensors", "*.arrow"]
        api.snapshot_download(  # pyright: ignore[reportUnknownMemberType]
            repo, revision=info.sha, local_dir=scratch, allow_patterns=patterns
        )
        brought = bring_in(Path(scratch), home, replace=replace, most_bytes=most_bytes)
        remembered = _remembered(home, name)
        remembered.parent.mkdir(parents=True, exist_ok=True)
        remembered.write_text(brought.artifact.hash, encoding="utf-8")
        return brought


def pulled(name: str, home: Path) -> str | None:
    """The hash of what was pulled under this name before; None where nothing was."""
    place = _remembered(home, name)
    return place.read_text(encoding="utf-8") if NAME.fullmatch(name) and place.is_file() else None


def _remembered(home: Path, name: str) -> Path:
    return home / BROUGHT / name.replace("/", "--")


def card(entry: Entry, repo: str) -> str:
    """The repository's page: what was decomposed, how well, and how to open it."""
    from huggingface_hub import ModelCardData

    manifest = entry.artifact.manifest
    source = manifest.config.target
    base, licence = (
        getattr(source, "repo", None),
        manifest.target.model.license or getattr(source, "license", None),
    )
    data = ModelCardData(
        library_name="unweave",
        base_model=base if base and "/" in base else None,
        license=licence.lower() if licence else None,
        tags=["unweave", "interpretability", "parameter-decomposition"],
    )
    rows = [
        f"| {row.label} | {_figure(row.train)} | {_figure(row.held_out)} | {row.unit} |"
        for row in Evidence(manifest).rows()
    ]
    stored = sum(len(site.kept) for site in manifest.sites)
    own = any(name.startswith("target/") for name in manifest.files)
    parts = [
        f"---\n{data}\n---",
        f"# {manifest.config.title or entry.slug}",
        manifest.config.description,
        f"A decomposition of weight matrices of {manifest.target.model.name} into rank-1 components (Stochastic "
        f"Parameter Decomposition): {stored:,} components at {len(manifest.sites)} sites, {entry.alive:,} alive. "
        + ("The model is small and comes with it." if own else "It holds no weights of the model."),
        f'```python\nimport unweave as uw\n\nd = uw.load("{repo}")\n```',
        f"`unweave open {repo}` shows it in a browser.",
        "## Evidence",
        "\n".join(["| measured | train | held out | unit |", "|---|---:|---:|---|", *rows]),
        f"SHA-256 of its content: `{entry.hash}`. Of the model's weights: `{entry.weights_hash}`.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


@contextmanager
def _sentences(name: str) -> Generator[None]:
    """What the hub refuses, as a sentence."""
    import httpx2
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalTokenNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except RevisionNotFoundError:
        raise ExchangeError(f"{name}: the repository has no such revision.") from None
    except RepositoryNotFoundError:
        raise ExchangeError(f"There is no {name} on the hub, or HF_TOKEN may not see it.") from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        why = "HF_TOKEN is missing or may not do that" if status in (401, 403) else f"it answered {status}"
        raise ExchangeError(f"The hub refused {name}: {why}.") from None
    except (LocalTokenNotFoundError, OfflineModeIsEnabled, HFValidationError) as error:
        raise ExchangeError(f"{name}: {str(error).splitlines()[0]}") from None
    except (httpx2.TransportError, OSError) as error:
        raise ExchangeError(
            f"{name}: the hub cannot be reached, or the disk not written ({error})."
        ) from None
