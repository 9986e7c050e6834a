"""Tiny seeded things, built in code: a tokenizer, an artefact written by hand, settings over a temporary home."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from backend.settings import Settings
from tests import databases
from workers.spd.answers import (
    AblationResult,
    Output,
    OutputShift,
    PositionShift,
    SelfCheck,
    SparseImportances,
    Trace,
    TrustFigures,
)
from workers.spd.artifact import (
    Artifact,
    Check,
    HarvestColumns,
    HarvestGroup,
    HarvestPrompt,
    Manifest,
    Metric,
    ModelCard,
    SiteCard,
    TargetCard,
    seal,
    write_json,
)
from workers.spd.config import parse_config
from workers.spd.keys import ComponentKey
from workers.spd.queries import AblationQuery, Condition
from workers.spd.targets.tokenizer import PromptTokenizer

WOODS = "Tiger Woods is an American professional"
KOBE = "Kobe Bryant was an American professional"
CORPUS = [f"{WOODS} golf player. {KOBE} basketball player. The capital of France is Paris."] * 4
SITES = ("model.layers.0.mlp.down_proj", "model.layers.1.mlp.down_proj", "model.layers.1.self_attn.q_proj")
CONTEXT = 32
BOS = "<bos>"


def tiny_tokenizer() -> Tokenizer:
    """Byte-level BPE over two sentences: words with their leading space are single tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=[BOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


@cache
def tiny_prompt_tokenizer() -> PromptTokenizer:
    """The same as the method uses it."""
    return PromptTokenizer(tiny_tokenizer(), bos_token_id=0, context_length=CONTEXT)


def tiny_config(name: str = "tiny", **changes: Any) -> dict[str, Any]:
    """Plain config data of a small run over two prompts."""
    return {
        "name": name,
        "title": "Tiny",
        "description": "A tiny decomposition for tests.",
        "target": {"kind": "folder", "path": "/nowhere"},
        "sites": list(SITES),
        "C": 8,
        "losses": [{"kind": "faithfulness"}],
        "data": {"kind": "prompts", "prompts": [{"text": WOODS, "answer": " golf"}, {"text": KOBE}]},
        **changes,
    }


def hand_artifact(
    root: Path,
    name: str = "tiny",
    *,
    components: int = 8,
    sites: Sequence[str] = SITES,
    bos_token_id: int | None = 0,
    weights: str = "tiny weights",
    parameters: int = 1_000,
    **config: Any,
) -> Artifact:
    """An artefact folder written by hand: numbers that follow from their place, no weights behind it.

    At each site, component 3 is dead, the last one was pruned, and component 0 fires on the second token.
    """
    work = root / f"{name}.partial"
    (work / "harvest").mkdir(parents=True)
    tokenizer = tiny_tokenizer()
    tokenizer.save(str(work / "tokenizer.json"))
    prompts = PromptTokenizer(tokenizer, bos_token_id=0, context_length=CONTEXT)
    kept = list(range(components - 1))
    rows = [(site, index) for site in sites for index in kept]
    write_json(work / "harvest/components.json", _columns(rows).model_dump())
    texts = [(WOODS, "train", " golf"), (KOBE, "train", " basketball"), ("The capital", "held_out", None)]
    write_json(
        work / "harvest/prompts.json",
        [_prompt(prompts, text, split, answer, len(sites)).model_dump() for text, split, answer in texts],
    )
    group = HarvestGroup(
        name="␣Woods",
        token=" Woods",
        components=[f"{sites[0]}:0", f"{sites[-1]}:1"],
        why="Their strongest token is ␣Woods.",
    )
    write_json(work / "harvest/groups.json", [group.model_dump()])
    _write_tensors(work, sites, components, kept)
    curve = [{"step": step, "faithfulness": 1.0 / (step + 1), "l0": 4.0} for step in (0, 20, 40)]
    (work / "metrics.jsonl").write_text("\n".join(json.dumps(line) for line in curve) + "\n")
    manifest = Manifest(
        created_at=datetime(2026, 1, 2, tzinfo=UTC),
        config=parse_config(tiny_config(name, **config)),
        target=TargetCard(
            source=parse_config(tiny_config()).target,
            weights_hash=hashlib.sha256(weights.encode()).hexdigest(),
            model=ModelCard(
                name="Tiny", architecture="LlamaForCausalLM", parameters=parameters, layers=2, d_model=8,
                vocabulary=tokenizer.get_vocab_size(), context_length=CONTEXT, license="MIT",
            ),
            bos_token_id=bos_token_id,
        ),
        sites=[SiteCard(name=site, d_in=8, d_out=8, trained=components, kept=kept) for site in sites],
        versions={"unweave": "0.1.0", "torch": "2.0"},
        dtype="float32",
        device="cpu",
        training_seconds=12.0,
        metrics=[
            Metric(name="faithfulness", unit="mse", train=1e-9),
            Metric(name="kl_everything_on", unit="nats", train=1e-9, held_out=2e-9),
            Metric(name="kl_stochastic", unit="nats", train=0.02, held_out=0.04, spread=0.001, seeds=5),
            Metric(name="kl_adversarial", unit="nats", train=2.5, held_out=2.6),
            Metric(name="kl_everything_off", unit="nats", train=5.0),
            Metric(name="l0", unit="components", train=4.0),
            Metric(name="something_new", unit="", train=1.0),
        ],
        l0_by_site=dict.fromkeys(sites, 1.5),
        faithfulness_by_site=dict.fromkeys(sites, 1e-9),
        checks=[
            Check(
                groups=["␣Woods"], components=2, prompt=WOODS, answer=" golf", role="target", split="train",
                baseline=0.4, ablated=0.01, wanted="falls by at least 90 %", ok=True,
            )
        ],
        files={},
    )  # fmt: skip
    return seal(work, manifest, root / name)


def _write_tensors(work: Path, sites: Sequence[str], components: int, kept: list[int]) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    tensors: dict[str, Any] = {}
    for site in sites:
        tensors[f"{site}.V"] = np.ones((8, len(kept)), np.float32)
        tensors[f"{site}.U"] = np.ones((len(kept), 8), np.float32)
        tensors[f"{site}.index"] = np.array(kept, np.int64)
    save_file(tensors, work / "components.safetensors")
    save_file({"scales.0": np.ones(components, np.float32)}, work / "ci.safetensors")


def _columns(rows: list[tuple[str, int]]) -> HarvestColumns:
    count = len(rows)
    words = [" Woods", " Bryant", " American", " professional", " golf", " player", "The"]
    return HarvestColumns(
        site=[site for site, _ in rows],
        index=[index for _, index in rows],
        alive=[index != 3 for _, index in rows],
        mean_ci=[round((i * 37 % count) / count, 6) for i in range(count)],
        max_ci=[round((i * 53 % count) / count, 6) for i in range(count)],
        density=[round((i * 71 % count) / count, 6) for i in range(count)],
        label=[f"fires on {words[i % 7].strip()}" for i in range(count)],
        top_token=[words[i % 7] for i in range(count)],
        top_tokens=[[words[i % 7], words[(i + 1) % 7]] for i in range(count)],
        write_norm=[1.0] * count,
        effect=[round((i * 31 % count) / count, 6) for i in range(count)],
        reads=[[words[i % 7]] for i in range(count)],
        writes=[[words[(i + 2) % 7]] for i in range(count)],
    )


def _prompt(
    tokenizer: PromptTokenizer, text: str, split: Any, answer: str | None, sites: int
) -> HarvestPrompt:
    ids = tokenizer.encode(text, bos=False)
    return HarvestPrompt(
        text=text,
        split=split,
        bos=False,
        token_ids=ids,
        pieces=[tokenizer.piece(i) for i in ids],
        answer=answer,
        answer_probability=0.4 if answer else None,
        fact=None,
        site=list(range(sites)),
        position=[1] * sites,
        component=[0] * sites,
        ci=[0.9 / (1 + site) for site in range(sites)],
        inner_activation=[2.0] * sites,
    )


def hand_harvest(
    artifact: Artifact, place: Path, *, id: str = "words-1", fires: int = 7, hour: int = 8, **changes: Any
) -> Path:
    """A harvest written by hand, the same for every component: it fires `fires` times at 100 positions."""
    import numpy as np

    from workers.spd.statistics.config import HarvestConfig
    from workers.spd.statistics.store import HarvestInfo, Ragged, write_store

    count = len(artifact.columns.site)
    each = [1] * count

    def one(values: dict[str, Any]) -> Ragged:
        return Ragged.of(each, {name: np.array([value] * count) for name, value in values.items()})

    def inner(values: list[float]) -> Ragged:
        return Ragged.of([len(values)] * count, {"": np.array(values * count)})

    beside = np.array([(n + 1) % count for n in range(count)], np.int32)
    token = {"token": 5, "count": 6, "total": 9, "precision": 0.66667, "recall": 0.8571, "pmi": 2.1}
    columns = {
        "fires": np.full(count, fires), "density": np.full(count, fires / 100), "mean_ci": np.full(count, 0.05),
        "max_ci": np.full(count, 1.0), "mean_activation": np.full(count, 2.0), "sign": np.ones(count, np.int8),
        "ci_histogram": np.ones((count, 25), np.int64), "activation_range": np.full(count, 4.0),
        "activation_histogram": np.full((count, 32), 3), "activation_histogram_firing": np.zeros((count, 32), np.int64),
        "inputs": one(token), "outputs": one(token),
        "label_tokens": inner([5]), "label_hits": np.full(count, 6), "label_guesses": np.full(count, 8),
        "label_fires": np.full(count, fires),
        "cofiring": Ragged.of(each, {
            "ordinal": beside, "both": np.full(count, 4), "jaccard": np.full(count, 0.4), "pmi": np.full(count, 1.5),
        }),
        "near_matrix": Ragged.of([0] * count, {"ordinal": np.empty(0, np.int32), "cosine": np.empty(0)}),
        "near_reads": Ragged.of(each, {"ordinal": beside, "cosine": np.full(count, -0.5)}),
        "near_writes": Ragged.of([0] * count, {"ordinal": np.empty(0, np.int32), "cosine": np.empty(0)}),
        "read_face": np.array(["neurons"] * count, dtype=object),
        "write_face": np.array(["residual"] * count, dtype=object),
        "write_slice": np.array([""] * count, dtype=object),
        "reads": one({"kind": 1, "id": 4, "score": 0.75}), "writes": one({"kind": 0, "id": 6, "score": 0.5}),
        "effect_mean": np.full(count, 0.01), "effect_max": np.full(count, 0.5),
        "affected": Ragged.of(each, {
            "window": np.zeros(count, np.int32), "source": np.full(count, 3, np.int8), "tokens": inner([5, 6]),
            "kl": inner([0.0, 0.5]),
        }),
        "examples": Ragged.of(each, {
            "quantile": np.zeros(count, np.int8), "source": np.zeros(count, np.int8),
            "window": np.zeros(count, np.int32),
            "start": np.zeros(count, np.int32), "at": np.ones(count, np.int32), "tokens": inner([5, 6, 7]),
            "ci": inner([0.0, 1.0, 0.25]), "activation": inner([0.1, 3.0, -1.0]),
        }),
    }  # fmt: skip
    info: dict[str, Any] = dict(
        id=id, artifact_hash=artifact.hash, weights_hash=artifact.manifest.target.weights_hash, corpus="words",
        described="a few words", corpus_hash="0" * 64, config=HarvestConfig(), threshold=0.1, windows=10, tokens=100,
        positions=100, all_read=True, sources={"corpus": 10}, components=count, fired=count, ablated=count,
        ablation_windows=1, sampled_positions=100, dtype="float32", device="cpu", versions={"unweave": "0.1.0"},
        created_at=datetime(2026, 1, 2, hour, tzinfo=UTC), seconds=1.0, files={}, label_positions=50,
    )  # fmt: skip
    write_store(place / id, HarvestInfo(**{**info, **changes}), columns)
    return place / id


# --- an engine that needs no model ----------------------------------------------------------------------------


@dataclass
class FakeAblator:
    """An engine whose numbers follow from its inputs alone: each unit of strength halves the probability."""

    dtype: str = "float32"
    device: str = "cpu"
    versions: dict[str, str] = field(default_factory=lambda: {"torch": "0"})

    def importances(
        self, token_ids: tuple[int, ...], threshold: float, *, recompute: bool = False
    ) -> SparseImportances:
        n = len(token_ids)
        return SparseImportances([0] * n, list(range(n)), [0] * n, [1.0] * n, [0.5] * n, below_threshold=0)

    def trace(self, token_ids: tuple[int, ...], key: ComponentKey) -> Trace:
        return Trace([0.5] * len(token_ids), [float(key.index)] * len(token_ids))

    def trust(self, token_ids: tuple[int, ...], threshold: float, *, rest: bool) -> TrustFigures:
        n = len(token_ids)
        return TrustFigures([0.25] * n, [10.0] * n, [0.0] * n if rest else None, 1.0, 1)

    def ablate(self, query: AblationQuery) -> list[AblationResult]:
        places = range(len(query.token_ids)) if query.positions is None else query.positions
        return [
            AblationResult([self._place(at, condition, query) for at in places], [], 0.0, SelfCheck(0.0))
            for condition in query.conditions
        ]

    def _place(self, at: int, condition: Condition, query: AblationQuery) -> PositionShift:
        strength = sum(e.strength for e in condition.edits if e.positions is None or at in e.positions)

        def shift(token_id: int) -> OutputShift:
            ablated = Output(0.5 * 2**-strength, 0.5, 2)
            return OutputShift(
                token_id, tiny_prompt_tokenizer().piece(token_id), Output(0.5, 1.0, 1), ablated
            )

        top = [shift(i) for i in range(1, query.top_k + 1)]
        return PositionShift(at, float(strength), top, [shift(i) for i in query.watch])


def settings(home: Path, **changes: Any) -> Settings:
    """Settings over a home folder of its own, with nothing shipped and nothing featured unless asked for."""
    options: dict[str, Any] = {
        "home": home,
        "shipped": home / "shipped",
        "featured": home / "featured",
        "load_engines": False,
        "database_url": databases.url_of(home) if databases.server else None,
        **changes,
    }
    return Settings(**options)


# --- a real one: a tiny random Llama, decomposed by the method itself --------------------------------------------


def tiny_llama(folder: Path, seed: int = 0) -> Path:
    """A two-layer Llama with random weights and the tiny tokenizer, saved as `transformers` saves one."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = tiny_tokenizer()
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=tokenizer.get_vocab_size(), hidden_size=16, intermediate_size=32, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=CONTEXT, bos_token_id=0,
            eos_token_id=0, initializer_range=0.5,
        )
    )  # fmt: skip
    model.save_pretrained(folder, safe_serialization=True)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=BOS).save_pretrained(folder)
    return folder


def trained_artifact(home: Path, name: str = "tiny", *, steps: int = 30, **changes: Any) -> Artifact:
    """A decomposition of the tiny Llama by `workers.spd.run.decompose`, stored in the home folder. Takes seconds."""
    from workers.spd.run.decompose import decompose

    folder = home / "llama"
    if not folder.is_dir():
        tiny_llama(folder)
    data = tiny_config(
        name,
        target={"kind": "folder", "path": str(folder), "license": "MIT"},
        sites=["model.layers.*.mlp.*_proj", "model.layers.*.self_attn.q_proj"],
        C=12,
        start={"kind": "svd"},
        ci={"kind": "shared_mlp", "hidden": 8},
        losses=[
            {"kind": "faithfulness"},
            {"kind": "stochastic_reconstruction"},
            {"kind": "importance_minimality", "coefficient": 1e-2},
        ],
        steps=steps,
        log_every=10,
        **changes,
    )
    return decompose(parse_config(data), home / "artifacts" / name, home=home)
