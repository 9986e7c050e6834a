"""Before a run: models, prompts, configs, and what a run will take."""

from __future__ import annotations

from fastapi import APIRouter

from backend.api.deps import ModelsDep
from backend.api.roles import LOOK_AS_WRITER, VisitorDep
from backend.schemas.common import Listing
from backend.schemas.models import (
    AskedPrompts,
    AskRequest,
    ConfigRequest,
    InspectRequest,
    ModelChoices,
    PromptFile,
    ReadPrompts,
    Recipe,
    Review,
)
from workers.spd.scouted import Estimate, ModelView

router = APIRouter(prefix="/api", tags=["before a run"], dependencies=[LOOK_AS_WRITER])


@router.get("/models")
def list_models(models: ModelsDep) -> ModelChoices:
    """The models that come with Unweave, and those in the folders that jobs may read."""
    return models.choices()


@router.post("/models/inspect")
def inspect_model(request: InspectRequest, models: ModelsDep, who: VisitorDep) -> ModelView:
    """Architecture, size, licence, tokenizer, the memory it needs, and its modules with why some cannot be decomposed.
    Reads its config and headers, no weights."""
    return models.inspect(request, anywhere=who.may("admin"))


@router.post("/models/prompts")
def ask_model(request: AskRequest, models: ModelsDep, who: VisitorDep) -> AskedPrompts:
    """How the model splits each prompt, what it predicts after it, and the rank and probability of its answer."""
    return models.ask(request, anywhere=who.may("admin"))


@router.post("/prompts/read")
def read_prompt_file(file: PromptFile, models: ModelsDep) -> ReadPrompts:
    """The prompts of a text, CSV or JSON-lines file."""
    return models.read_prompts(file)


@router.get("/configs/recipes")
def list_recipes(models: ModelsDep) -> Listing[Recipe]:
    """The method for each kind of data in three sizes, to start a config from."""
    items = models.recipes()
    return Listing[Recipe](items=items, total=len(items))


@router.post("/configs/review")
def review_config(request: ConfigRequest, models: ModelsDep, who: VisitorDep) -> Review:
    """A config beside the model it names: the sites it matches, its components, and what to think of first."""
    return models.review(request, anywhere=who.may("admin"))


@router.post("/configs/estimate")
def estimate_config(request: ConfigRequest, models: ModelsDep, who: VisitorDep) -> Estimate:
    """Time and memory of a run, from a few of its own steps on this server's device. Takes up to some minutes."""
    return models.estimate(request, anywhere=who.may("admin"))
