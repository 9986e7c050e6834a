"""What may be asked for from outside, over HTTP. The command line is not bound by these.

Three things are refused however small: a `folder` target outside `models/` and `targets/` of the home folder, a
corpus (of text, or of a dataset's files) outside its `texts/`, and a `package` target that no preset names. A
server may listen to more people than its owner; with an open folder path any of them could learn which files lie on
the machine, read texts that were never theirs (the home folder itself holds the database and the jobs' logs), and
have a model loaded, decomposed and shown. A package that nobody has looked at could be any file of the index. Both
lists can be extended by the owner.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from workers.spd.config import (
    ConfigError,
    DatasetText,
    DecomposeConfig,
    FolderSource,
    InductionSource,
    PackageSource,
    PackageText,
    Source,
    TextModelSource,
    load_config,
    preset_names,
)
from workers.spd.statistics.config import HarvestConfig

TEXTS = ("texts",)
"""Folders of the home folder that hold texts."""
MODELS = ("models", "targets")
"""Those that hold models."""


@dataclass(frozen=True)
class Limits:
    """Most of each that a job asked for over HTTP may have.

    `batch_elements`: batch × length × vocabulary of a training batch, the size of its logits (4 bytes each).
    """

    queued: int = 20
    steps: int = 1_000_000
    C: int = 16_384
    sites: int = 1_000
    prompts: int = 2_000
    prompt_characters: int = 200_000
    batch_elements: int = 2**28
    samples: int = 64
    checks: int = 200
    dataset_texts: int = 100_000
    dataset_characters: int = 100_000_000
    harvest_tokens: int = 20_000_000
    harvest_window: int = 2_048
    harvest_ablations: int = 200_000
    folders: tuple[Path, ...] = ()
    packages: tuple[str, ...] = ()

    def check(self, config: DecomposeConfig, home: Path) -> None:
        """Raise ConfigError, naming every key over its limit, where `config` may not be run for a stranger."""
        faults = [*self._sizes(config), *self._source(config, home)]
        if faults:
            raise ConfigError("This server does not run that job. " + "; ".join(faults[:5]) + ".")

    def check_target(self, target: Source, home: Path) -> None:
        """The same for a model alone."""
        faults = list(self._target(target, home))
        if faults:
            raise ConfigError("This server does not open that model. " + "; ".join(faults) + ".")

    def check_harvest(self, config: HarvestConfig, home: Path) -> None:
        """The same for a harvest."""
        ablations = config.ablate_components * (config.ablate_windows + config.ablate_own)
        counts = [
            ("tokens", config.tokens, self.harvest_tokens),
            ("window", config.window, self.harvest_window),
            ("batch_tokens", config.batch_tokens, 2**14),
            (
                "ablate_components × (ablate_windows + ablate_own)",
                ablations, self.harvest_ablations,
            ),
        ]  # fmt: skip
        counts += self._dataset_sizes("dataset", config.dataset)
        faults = [f"“{name}” is {n:,} and may be at most {most:,}" for name, n, most in counts if n > most]
        if config.held_out:
            faults.append(
                "“held_out” reads what a decomposition's own config names; give it on the command line"
            )
        places = {"path": config.path, "dataset.path": config.dataset.path if config.dataset else None}
        for key, place in places.items():
            if place is not None and not self._allowed(place, home, TEXTS):
                faults.append(_outside(key, TEXTS, "harvest"))
        if faults:
            raise ConfigError("This server does not run that harvest. " + "; ".join(faults) + ".")

    def _dataset_sizes(self, key: str, dataset: DatasetText | None) -> list[tuple[str, int, int]]:
        if dataset is None:
            return []
        return [
            (f"{key}.texts", dataset.texts, self.dataset_texts),
            (f"{key}.characters", dataset.characters, self.dataset_characters),
        ]

    def _allowed(self, place: str, home: Path, rooms: tuple[str, ...]) -> bool:
        try:
            path = Path(place).expanduser().resolve()
        except (OSError, RuntimeError, ValueError):  # links in a circle, a user that does not exist
            return False
        allowed = [*(home / room for room in rooms), *self.folders]
        return any(path.is_relative_to(folder.expanduser().resolve()) for folder in allowed)

    def _sizes(self, config: DecomposeConfig) -> Iterator[str]:
        counts = [
            ("steps", config.steps, self.steps),
            ("faithfulness_steps", config.faithfulness_steps, self.steps),
            ("C", config.C if isinstance(config.C, int) else 0, self.C),
            ("sites", len(config.sites), self.sites),
            ("checks", len(config.checks), self.checks),
        ]
        for loss in config.losses:
            samples = getattr(loss, "uniform", 0) + getattr(loss, "level", 0)
            counts.append((f"losses.{loss.kind} (uniform + level)", samples, self.samples))
        if (rest := config.rest) is not None:
            counts.append(
                ("rest (uniform + level + removed)", rest.uniform + rest.level + rest.removed, self.samples)
            )
            counts += self._dataset_sizes("rest.text.dataset", rest.text.dataset)
        data, target = config.data, config.target
        texts = data.listed()
        counts += [
            (f"data.{data.listed_as}", len(texts), self.prompts),
            (f"data.{data.listed_as}, characters together", sum(map(len, texts)), self.prompt_characters),
            *self._dataset_sizes("data.dataset", data.dataset),
        ]
        if isinstance(target, TextModelSource):
            width = max(4 * target.d_model, target.d_mlp) * target.layers + target.vocabulary
            tokens = target.batch_size * (target.context + 1)
            counts += [
                ("target.steps", target.steps, self.steps),
                ("target.batch_size × context × widths", tokens * width, self.batch_elements),
            ]
        if isinstance(target, InductionSource):
            counts.append(("target.steps", target.steps, self.steps))
            row = target.length * (target.vocabulary + 2)
            counts.append(
                ("target.batch_size × length × vocabulary", target.batch_size * row, self.batch_elements)
            )
            for name, size in data.sequences().items():
                counts.append((f"data.{name} × length × vocabulary", size * row, self.batch_elements))
        for name, count, most in counts:
            if count > most:
                yield f"“{name}” is {count:,} and may be at most {most:,}"

    def _source(self, config: DecomposeConfig, home: Path) -> Iterator[str]:
        yield from self._target(config.target, home)
        places = {f"data.{key}": path for key, path in config.data.places().items()}
        if config.rest is not None:
            places |= {f"rest.text.{key}": path for key, path in config.rest.text.places().items()}
        for key, place in places.items():
            if not self._allowed(place, home, TEXTS):
                yield _outside(key, TEXTS, "decompose")
        if config.data.package is not None:
            yield from self._package("data.package.package", config.data.package)

    def _target(self, target: Source, home: Path) -> Iterator[str]:
        """A model in a folder that is not allowed, or in a package that nobody has looked at."""
        if isinstance(target, FolderSource) and not self._allowed(target.path, home, MODELS):
            yield _outside("target.path", MODELS, "decompose")
        if isinstance(target, PackageSource):
            yield from self._package("target.package", target)
        if isinstance(target, TextModelSource):
            yield from self._package("target.text.package", target.text)

    def _package(self, key: str, package: PackageSource | PackageText) -> Iterator[str]:
        if package.package not in self.packages and (package.package, package.wheel_sha256) not in _known():
            yield (
                f"“{key}” {package.package} {package.version} is in no preset, and the owner of this server has not "
                "allowed it (UNWEAVE_JOB_PACKAGES)"
            )


def _outside(key: str, rooms: tuple[str, ...], command: str) -> str:
    inside = " or ".join(f"“{room}”" for room in rooms)
    return (
        f"“{key}” must lie inside {inside} in Unweave's home folder, or in a folder that its owner allows (the setting "
        f"UNWEAVE_JOB_FOLDERS); `unweave {command}` on the machine itself takes any folder"
    )


def _known() -> set[tuple[str, str]]:
    """Name and SHA-256 of every wheel that a preset fetches."""
    known: set[tuple[str, str]] = set()
    for config in map(load_config, preset_names()):
        target = config.target.text if isinstance(config.target, TextModelSource) else config.target
        for package in (target, config.data.package):
            if isinstance(package, PackageSource | PackageText):
                known.add((package.package, package.wheel_sha256))
    return known
