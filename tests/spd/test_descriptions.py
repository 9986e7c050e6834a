"""Every field of every config says what it is, in the code, in the OpenAPI and so on screen."""

import importlib
import json
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import workers.spd.config
import workers.spd.statistics.config
from workers.spd.config import AdversarialReconstruction, DecomposeConfig, Frozen, OptimizerConfig

for module in pkgutil.iter_modules(workers.spd.config.__path__):
    importlib.import_module(f"workers.spd.config.{module.name}")


def models(base: type[Frozen] = Frozen) -> Iterator[type[Frozen]]:
    for model in base.__subclasses__():
        yield model
        yield from models(model)


SHIPPED = sorted(
    {m for m in models() if m.__module__.startswith("workers.")}, key=lambda model: model.__name__
)


@pytest.mark.parametrize("model", SHIPPED, ids=lambda model: model.__name__)
def test_every_field_of_a_config_has_a_description(model):
    bare = [name for name, field in model.model_fields.items() if not field.description]
    assert not bare, f"{model.__name__}: {', '.join(bare)}"


def test_the_configs_that_count_are_among_them():
    assert {"DecomposeConfig", "HarvestConfig", "AttentionCI", "AdversaryOptions", "CorpusData"} <= {
        model.__name__ for model in SHIPPED
    }
    assert sum(len(model.model_fields) for model in SHIPPED) > 200


def test_the_descriptions_reach_the_openapi():
    schemas = json.loads((Path(__file__).parents[2] / "frontend" / "openapi.json").read_text())["components"][
        "schemas"
    ]
    schemas["DecomposeConfig"] = schemas["JobRequest"]["properties"]["config"]["anyOf"][0]
    for model in (DecomposeConfig, AdversarialReconstruction, OptimizerConfig):
        shown = schemas[model.__name__]["properties"]
        assert {name: field.description for name, field in model.model_fields.items()} == {
            name: shown[name]["description"] for name in model.model_fields
        }
