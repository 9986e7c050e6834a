"""The door to the library `datasets`: rows of a dataset as a stream, and nothing but rows.

What a dataset says of itself is written by strangers: its card may name files anywhere on the machine or the
network, and some formats hold code. So its card is read first, and the dataset only where that names files of its own,
in formats that hold plain rows. No token is ever sent: a server's owner may have one, and people who may not see what
it opens.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workers.spd.config import ConfigError, DatasetText

READERS = ("parquet", "json", "csv", "text", "arrow")
SIDE_CARD = ".huggingface.yaml"  # a second card, beside README.md
OWN_FILES = (
    "data.dataset: “{}” cannot be read: it has no files of its own with rows of text (parquet, JSON lines, CSV, text, "
    "arrow). Datasets made by a script, of links to other places, or of images and sound are not read."
)


class TextsError(Exception):
    """Texts that cannot be had at this moment or on this machine; the message is a plain sentence with a way out."""


@dataclass(frozen=True)
class Opened:
    """`rows` in the split's order; `commit` where a hub dataset's revision stands; `library` names its version."""

    rows: Iterator[dict[str, Any]]
    commit: str | None
    library: str


def opened(source: DatasetText, scratch: Path) -> Opened:
    """Open a dataset. Raises ConfigError where it has no such subset, split or column or may not be read, TextsError
    where it cannot be reached. The library writes only below `scratch`."""
    try:
        import datasets
    except ImportError:
        raise TextsError(
            "A corpus by dataset needs the library “datasets”, which is not installed here. Install it (pip install "
            "-e '.[datasets]' in Unweave's folder), or give data.path a text file."
        ) from None
    datasets.disable_progress_bars()
    commit, place = (None, _own_folder(source)) if source.name is None else _own_repository(source)
    name = source.name or Path(place).name
    try:
        builder = datasets.load_dataset_builder(
            place, source.config, revision=commit, token=False, cache_dir=str(scratch)
        )
        if builder.name not in READERS and getattr(builder, "builder_name", "") not in READERS:
            raise ConfigError(OWN_FILES.format(name))
        listed = (builder.config.data_files or {}).items()
        files = {str(split): [str(file) for file in listing] for split, listing in listed}
        _keep_to_own_files([file for listing in files.values() for file in listing], place, commit, name)
        if source.split not in files:
            raise ConfigError(
                f"data.dataset.split: “{name}” has no split “{source.split}”. It has: {', '.join(files) or 'none'}."
            )
        stream: Any = builder.as_streaming_dataset(split=source.split)
        if stream.features is not None:
            columns = list(stream.features)
            if source.column not in columns:
                raise ConfigError(
                    f"data.dataset.column: “{name}” has no column “{source.column}”. It has: {', '.join(columns)}."
                )
            stream = stream.select_columns([source.column]).decode(False)
    except Exception as error:
        raise _told(error, source, name) from error
    return Opened(_rows(stream, source, name), commit, f"datasets {datasets.__version__}")


def _rows(stream: Any, source: DatasetText, name: str) -> Iterator[dict[str, Any]]:
    rows = iter(stream)
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except Exception as error:
            raise _told(error, source, name) from error
        yield row


# --- what may be read -----------------------------------------------------------------------------------------


def _own_folder(source: DatasetText) -> str:
    folder = Path(source.path or "").expanduser().resolve()
    if not folder.is_dir():
        raise ConfigError(f"data.dataset.path: there is no folder “{source.path}”.")
    card = folder / "README.md"
    if card.is_file():
        _check_card(card, folder.name)
    if (folder / SIDE_CARD).exists():
        raise ConfigError(OWN_FILES.format(folder.name))
    return str(folder)


def _own_repository(source: DatasetText) -> tuple[str, str]:
    """The commit a hub dataset's revision stands at, and its address."""
    from huggingface_hub import HfApi, hf_hub_download

    assert source.name is not None
    try:
        listing = HfApi(token=False).dataset_info(source.name, revision=source.revision, timeout=30)
        files = {one.rfilename for one in listing.siblings or []}
        commit = listing.sha
        if commit is None or SIDE_CARD in files:
            raise ConfigError(OWN_FILES.format(source.name))
        if "README.md" in files:
            card = hf_hub_download(
                source.name, "README.md", repo_type="dataset", revision=commit, token=False
            )
            _check_card(Path(card), source.name)
    except Exception as error:
        raise _told(error, source, source.name) from error
    return commit, f"hf://datasets/{source.name}"


def _check_card(card: Path, name: str) -> None:
    """Raises ConfigError where the card names files that are not the dataset's own."""
    from huggingface_hub import DatasetCard

    card_data = DatasetCard(card.read_text(encoding="utf-8"), ignore_metadata_errors=True).data.to_dict()
    configs = card_data.get("configs") or []
    for one in configs if isinstance(configs, list) else [configs]:
        places = {key: one[key] for key in ("data_files", "data_dir") if isinstance(one, dict) and key in one}
        if not all(_is_own(text) for text in _strings(places)):
            raise ConfigError(OWN_FILES.format(name))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for one in value.values():
            yield from _strings(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _strings(one)
    elif value is not None:
        yield str(value)


def _is_own(pattern: str) -> bool:
    """Whether a pattern can match nothing but files below the dataset's own root."""
    steps = re.split(r"[/\\]", pattern)
    return not pattern.startswith(("/", "\\", "~")) and ":" not in pattern and ".." not in steps


def _keep_to_own_files(files: list[str], place: str, commit: str | None, name: str) -> None:
    """The same once more, of what the library has found."""
    for one in files:
        own = (
            Path(one).resolve().is_relative_to(place)
            if commit is None
            else one.startswith(f"{place}@{commit}/") and ".." not in one.split("/")
        )
        if not own:
            raise ConfigError(OWN_FILES.format(name))


# --- what went wrong ------------------------------------------------------------------------------------------


def _told(error: Exception, source: DatasetText, name: str) -> Exception:
    """What the libraries raise, of many kinds, as one of ours. A full disk stays what it is."""
    from datasets.exceptions import DatasetNotFoundError
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    from workers.spd.artifact import is_full

    if isinstance(error, ConfigError | TextsError) or is_full(error):
        return error
    if isinstance(error, RevisionNotFoundError):
        return ConfigError(f"data.dataset.revision: “{name}” has no revision “{source.revision}”.")
    if isinstance(error, RepositoryNotFoundError | DatasetNotFoundError):
        return ConfigError(
            f"data.dataset.name: there is no public dataset “{name}” on the hub. One that needs an account can be "
            "downloaded and given as data.dataset.path."
        )
    first = " ".join(str(error).split())
    subsets = re.match(r"(?:BuilderConfig .* not found|Config name is missing).*?\[(.*?)\]", first)
    if isinstance(error, ValueError) and subsets is not None:
        wrong = (
            f"has no subset “{source.config}”" if source.config else "has several subsets; name one of them"
        )
        return ConfigError(
            f"data.dataset.config: “{name}” {wrong}. It has: {subsets[1].replace(chr(39), '')}."
        )
    script = isinstance(error, RuntimeError) and "script" in first
    if (
        script
        or isinstance(error, FileNotFoundError)
        or (source.name is None and isinstance(error, ValueError))
    ):
        return ConfigError(OWN_FILES.format(name))
    if source.name is None:
        return ConfigError(f"data.dataset: “{name}” cannot be read: {first[:300] or type(error).__name__}.")
    return TextsError(
        f"The dataset “{name}” could not be read from the Hugging Face hub ({type(error).__name__}). Check the network "
        "and try again, or give data.dataset.path a folder with its files; what was taken before needs no network."
    )
