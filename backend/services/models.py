"""What is known before a run: the models at hand, what they are, what they make of prompts, and what a run takes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from backend.errors import invalid
from backend.schemas.models import (
    AskedPrompts,
    AskRequest,
    ConfigRequest,
    InspectRequest,
    ModelChoice,
    ModelChoices,
    PromptFile,
    ReadPrompts,
    Recipe,
    Review,
)
from backend.services.access.sources import check_sources
from backend.services.review import review
from backend.services.scout import Scout
from backend.settings import Settings
from workers.jobs.limits import MODELS, Limits
from workers.spd.config import (
    ConfigError,
    DecomposeConfig,
    FolderSource,
    HubSource,
    PackageSource,
    Source,
    TextModelSource,
    load_config,
    parse_config,
    preset_names,
)
from workers.spd.config.recipes import METHOD_OF, SITES, STEPS, recipe
from workers.spd.lru import LRU
from workers.spd.prompts.files import format_of, read_prompt_file
from workers.spd.scouted import AskedPrompt, Estimate, ModelView
from workers.spd.targets.memory import available_bytes

INSPECT_SECONDS, FETCH_SECONDS, ASK_SECONDS, ESTIMATE_SECONDS = 120.0, 590.0, 300.0, 300.0
MOST_FOUND = 100
MOST_VIEWS = 50_000
"""Modules of the models that were looked at and are remembered."""
ASKED: TypeAdapter[list[AskedPrompt]] = TypeAdapter(list[AskedPrompt])


class Models:
    """Looks before anything is started; `anywhere`: into folders and the hub too. Raises ApiError with a sentence."""

    def __init__(self, settings: Settings, limits: Limits) -> None:
        self.settings, self.limits = settings, limits
        self.scout = Scout(settings.home, settings.device)
        self._views = LRU[str, ModelView](MOST_VIEWS)
        self._lock = threading.Lock()

    def close(self) -> None:
        """End the process that looks."""
        self.scout.close()

    def choices(self) -> ModelChoices:
        """The models of the presets, and those that lie where jobs may read."""
        shipped: dict[str, ModelChoice] = {}
        for name in preset_names():
            config = load_config(name)
            shipped.setdefault(
                config.target.model_dump_json(),
                ModelChoice(name=_shown(config), source=config.target, where="shipped"),
            )
        rooms = [self.settings.home / MODELS[0], *self.settings.job_folders]
        found = [
            ModelChoice(name=path.name, source=FolderSource(path=str(path)), where="folder")
            for room in rooms
            for path in _models_in(room.expanduser())
        ]
        return ModelChoices(
            items=[*found[:MOST_FOUND], *shipped.values()],
            rooms=[str(room) for room in rooms],
            setting="UNWEAVE_JOB_FOLDERS",
        )

    def inspect(self, request: InspectRequest, *, anywhere: bool = True) -> ModelView:
        """What a model is, and its modules."""
        if not anywhere:
            check_sources(request.source)
        return self._view(request.source, fetch=request.fetch)

    def ask(self, request: AskRequest, *, anywhere: bool = True) -> AskedPrompts:
        """What the model makes of prompts; the first time its weights are read."""
        if not anywhere:
            check_sources(request.source)
        self._check(request.source)
        answer = self.scout.ask(
            {
                "about": "prompts",
                "source": request.source.model_dump(mode="json"),
                "prompts": [prompt.model_dump(mode="json") for prompt in request.prompts],
                "bos": request.bos,
            },
            ASK_SECONDS,
        )
        return AskedPrompts(items=ASKED.validate_python(answer))

    def read_prompts(self, file: PromptFile) -> ReadPrompts:
        """The prompts of a file's text."""
        try:
            return ReadPrompts(items=read_prompt_file(file.text, file.format or format_of(file.name)))
        except ConfigError as error:
            raise invalid("invalid_prompts", str(error)) from None

    def recipes(self) -> list[Recipe]:
        """The method for every kind of data in every size."""
        return [
            Recipe(kind=kind, size=size, sites=SITES[kind], config=recipe(kind, size))
            for kind in METHOD_OF
            for size in STEPS
        ]

    def review(self, request: ConfigRequest, *, anywhere: bool = True) -> Review:
        """A config beside the modules that it names."""
        config = self._config(request, anywhere)
        return review(config, self._view(config.target))

    def estimate(self, request: ConfigRequest, *, anywhere: bool = True) -> Estimate:
        """Time and memory of a run, from a few of its steps in a process of its own."""
        config = self._config(request, anywhere)
        scout = Scout(self.settings.home, self.settings.device)
        with self._lock:  # one at a time: two would time each other
            self.scout.let_go()  # the model that it holds would count as taken
            try:
                answer = scout.ask(
                    {"about": "run", "config": config.model_dump(mode="json")}, ESTIMATE_SECONDS
                )
            finally:
                scout.close()
        return Estimate.model_validate(answer)

    def _config(self, request: ConfigRequest, anywhere: bool) -> DecomposeConfig:
        try:
            data: Any = request.config if request.yaml is None else yaml.safe_load(request.yaml)
            config = parse_config(data)
            self.limits.check(config, self.settings.home)
        except (yaml.YAMLError, RecursionError) as error:
            said = " ".join(str(error).split())
            raise invalid("invalid_yaml", f"It is not YAML: {said}.") from None
        except ConfigError as error:
            raise invalid("invalid_config", str(error)) from None
        if not anywhere:
            check_sources(config)
        return config

    def _check(self, source: Source) -> None:
        try:
            self.limits.check_target(source, self.settings.home)
        except ConfigError as error:
            raise invalid("not_allowed", str(error)) from None

    def _view(self, source: Source, *, fetch: bool = False) -> ModelView:
        """Looked at once, as long as its files stay as they are, beside the memory of this moment."""
        self._check(source)
        key = source.model_dump_json() + _stamp(source)
        view = self._views.get(key)
        if view is None:
            described = source.model_dump(mode="json")
            seconds = FETCH_SECONDS if fetch else INSPECT_SECONDS
            answer = self.scout.ask({"about": "model", "source": described, "fetch": fetch}, seconds)
            view = ModelView.model_validate(answer)
            self._views.put(key, view, len(view.modules))
        return view.beside(available_bytes(self.settings.device))


def _stamp(source: Source) -> str:
    if not isinstance(source, FolderSource):
        return ""
    place = Path(source.path).expanduser()
    files = sorted(place.iterdir()) if place.is_dir() else [place]
    return "|".join(f"{file.name}:{file.stat().st_mtime_ns}" for file in files if file.is_file())


def _models_in(room: Path, depth: int = 2) -> Iterator[Path]:
    """Folders and GGUF files of a room that look like models."""
    if not room.is_dir():
        return
    for path in sorted(room.iterdir()):
        if (path.suffix.lower() == ".gguf" and path.is_file()) or (path / "config.json").is_file():
            yield path
        elif depth > 1 and path.is_dir() and not path.name.startswith("."):
            yield from _models_in(path, depth - 1)


def _shown(config: DecomposeConfig) -> str:
    target = config.target
    if isinstance(target, PackageSource):
        return Path(target.gguf).stem
    if isinstance(target, TextModelSource):
        return target.name
    if isinstance(target, HubSource):
        return target.repo
    return config.title or config.name
