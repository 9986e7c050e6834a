"""The one configuration of a decomposition: YAML preset = request body = stored JSON.

Every model is frozen and forbids unknown keys; an unknown key is an error that names it. Units: learning rates
per Adam step, coefficients multiply losses in nats (reconstruction) or squared weight units (faithfulness).
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator


class Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ConfigError(ValueError):
    """A config that cannot be used; the message is a plain sentence that names the key at fault."""


Seed = Annotated[int, Field(ge=0, le=2**53 - 1)]
"""What torch's generators take, and every reader of JSON keeps exactly."""


# --- where the target's weights come from ---------------------------------------------------------------------


class PackageSource(Frozen):
    """A GGUF file inside a wheel on the Python package index, verified by SHA-256 before it is read."""

    kind: Literal["package"] = "package"
    package: str
    version: str
    wheel_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    gguf: str = Field(description="path of the GGUF file inside the wheel")
    license: str | None = None


class HubSource(Frozen):
    """A `transformers` causal LM on the Hugging Face hub, as `owner/name`. Safetensors only, no remote code."""

    kind: Literal["hub"] = "hub"
    repo: str = Field(pattern=r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$")
    revision: str = "main"
    license: str | None = None


class FolderSource(Frozen):
    """A `transformers` causal LM saved in a local folder (config.json and safetensors)."""

    kind: Literal["folder"] = "folder"
    path: str
    license: str | None = None


class InductionSource(Frozen):
    """The two-layer induction-head model of the paper, trained here from a seed (method.md, "Induction heads")."""

    kind: Literal["induction"] = "induction"
    vocabulary: int = Field(default=128, ge=4, le=1024, description="tokens besides BOS and S")
    length: int = Field(default=64, ge=8, le=512)
    d_model: int = Field(default=16, ge=4, le=256)
    steps: int = Field(default=1_500, ge=1, le=10_000_000)
    batch_size: int = Field(default=512, ge=1, le=65_536)
    learning_rate: float = Field(default=3e-3, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)
    seed: Seed = 0


Source = Annotated[PackageSource | HubSource | FolderSource | InductionSource, Field(discriminator="kind")]


# --- causal importance functions ------------------------------------------------------------------------------


class CIBase(Frozen):
    reads: Literal["inner", "input"] = Field(
        default="inner", description="inner activations x·V over their data RMS, or the site's whole input"
    )
    scale: Literal["rms", "peak"] = Field(
        default="rms",
        description="what activations are divided by: their RMS over the data, or their largest magnitude,"
        " for components that fire on few of many tokens",
    )
    start: float = Field(default=0.95, ge=0, le=1, description="every causal importance at step 0")


class AttentionCI(CIBase):
    """The paper's: one attention head with a learned relative term before the γ-MLP."""

    kind: Literal["attention"] = "attention"
    scope: Literal["component", "site"] = "site"
    heads: int = Field(default=1, ge=1, le=16, description="the paper has one; each has d_k of its own")
    d_k: int = Field(default=16, ge=1, le=1024)
    hidden: int = Field(default=32, ge=1, le=4096)
    causal: bool = True
    sees_itself: bool = Field(
        default=True,
        description="false: attention leaves the position itself out (γ reads its x anyway), so that a token's first"
        " occurrence cannot pass for a later one; a position with nothing else to see sees itself",
    )
    max_distance: int = Field(
        default=128, ge=1, le=8192, description="relative positions further apart share one term"
    )
    relative_start: Literal["flat", "near"] = Field(
        default="flat",
        description="r at step 0. near: weights 1/distance without the position itself, and keys equal to queries, "
        "so what came just before shows from the start; every second head looks for earlier likes of a token instead, "
        "wherever they stand",
    )
    relative_gain: float = Field(
        default=1.0,
        gt=0,
        le=1_000,
        description="r is this times its parameter: larger learns sharp positions sooner",
    )


class SharedMLPCI(CIBase):
    """One MLP a site with C outputs."""

    kind: Literal["shared_mlp"] = "shared_mlp"
    hidden: int = Field(default=32, ge=1, le=4096)


class MLPCI(CIBase):
    """A per-component MLP of the scalar inner activation."""

    kind: Literal["mlp"] = "mlp"
    reads: Literal["inner"] = "inner"  # pyright: ignore[reportIncompatibleVariableOverride]
    hidden: int = Field(default=16, ge=1, le=4096)


class VectorMLPCI(CIBase):
    """A per-component MLP of everything the site reads."""

    kind: Literal["vector_mlp"] = "vector_mlp"
    hidden: int = Field(default=16, ge=1, le=4096)


class TransformerCI(CIBase):
    """One small transformer that sees every site at once."""

    kind: Literal["transformer"] = "transformer"
    d_model: int = Field(default=64, ge=8, le=4096)
    layers: int = Field(default=2, ge=1, le=24)
    heads: int = Field(default=4, ge=1, le=64)
    causal: bool = True

    @model_validator(mode="after")
    def _heads_divide(self) -> TransformerCI:
        if self.d_model % (2 * self.heads):
            raise ValueError(
                f"d_model {self.d_model} must be a multiple of twice the heads, {2 * self.heads}."
            )
        return self


CIConfig = Annotated[
    AttentionCI | SharedMLPCI | MLPCI | VectorMLPCI | TransformerCI, Field(discriminator="kind")
]


# --- losses ---------------------------------------------------------------------------------------------------

Coefficient = Annotated[float, Field(ge=0)]


class Faithfulness(Frozen):
    """Mean squared difference of V·U and W over all entries of all sites."""

    kind: Literal["faithfulness"] = "faithfulness"
    coefficient: Coefficient = 1.0


class ImportanceMinimality(Frozen):
    """Σ |g|^p over components, mean over positions; the coefficient warms up, p goes from p_start to p_end."""

    kind: Literal["importance_minimality"] = "importance_minimality"
    coefficient: Coefficient = 5e-3
    p_start: float = Field(default=1.0, gt=0, le=4)
    p_end: float = Field(default=0.5, gt=0, le=4)
    warmup: float = Field(
        default=0.25, ge=0, le=1, description="share of the steps over which it grows from 0"
    )
    end: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="share of the coefficient left at the last step; it falls geometrically",
    )
    slope_above: float = Field(
        default=0.01,
        ge=0,
        le=100,
        description="slope of the upper sigmoid past 1; 1 frees importances that overshot",
    )
    past_one: Literal["power", "linear"] = Field(
        default="power",
        description="power: (1 + slope·(γ − 1))^p, whose pull fades the further γ overshot; linear: 1 + slope·(γ − 1)",
    )


class Sampled(Frozen):
    """A loss that averages over passes, each with masks of its own."""

    uniform: int = Field(default=1, ge=0, le=64, description="samples with r ~ U(0, 1)")
    level: int = Field(
        default=1, ge=0, le=64, description="samples with r ~ Bernoulli(λ), one λ ~ U(0, 1) a sample"
    )

    @model_validator(mode="after")
    def _has_samples(self) -> Sampled:
        if self.uniform + self.level == 0:
            raise ValueError("at least one of uniform and level must be above 0.")
        return self


class StochasticReconstruction(Sampled):
    """KL(target ‖ masked) with m = g + (1 − g)·r at every site. Each sample draws its own masks."""

    kind: Literal["stochastic_reconstruction"] = "stochastic_reconstruction"
    coefficient: Coefficient = 1.0


class PartialReconstruction(Sampled):
    """The same, but only a random subset of the sites (or layers, or positions) is replaced in a sample."""

    kind: Literal["partial_reconstruction"] = "partial_reconstruction"
    coefficient: Coefficient = 1.0
    route: Literal["site", "layer", "position"] = "layer"
    level: int = Field(default=0, ge=0, le=64, description="samples with r ~ Bernoulli(λ)")


class AdversarialReconstruction(Frozen):
    """The same with sources kept between steps and moved by sign ascent on the loss (persistent PGD)."""

    kind: Literal["adversarial_reconstruction"] = "adversarial_reconstruction"
    coefficient: Coefficient = 1.0
    step_size: float = Field(default=0.1, gt=0, le=1)
    after: float = Field(default=0.3, ge=0, le=1, description="share of the steps before it starts")


Loss = Annotated[
    Faithfulness
    | ImportanceMinimality
    | StochasticReconstruction
    | PartialReconstruction
    | AdversarialReconstruction,
    Field(discriminator="kind"),
]


# --- data -----------------------------------------------------------------------------------------------------


class PromptData(Frozen):
    """One prompt of a run. `answer` is the token that follows it; prompts about one thing share a `fact`."""

    text: str = Field(min_length=1, max_length=20_000)
    answer: str | None = Field(default=None, description="the token, with its leading space")
    split: Literal["train", "held_out", "bystander"] = "train"
    fact: str | None = None
    watch: bool = Field(default=True, description="its answer is offered as a watched token")


class PromptsConfig(Frozen):
    """Short prompts, each whole in every step."""

    kind: Literal["prompts"] = "prompts"
    prompts: tuple[PromptData, ...] = Field(min_length=1, max_length=10_000)
    bos: bool = False
    batch_size: int | None = Field(default=None, ge=1, description="prompts a step; null: all of them")


class InductionData(Frozen):
    """Fresh sequences `[BOS] T* S M T* S` from the run's generator; the answer is M at the last position."""

    kind: Literal["induction"] = "induction"
    batch_size: int = Field(default=256, ge=1, le=65_536)
    evaluation: int = Field(default=512, ge=1, le=65_536, description="sequences in each evaluation split")
    shown: int = Field(default=4, ge=1, le=64, description="sequences kept for the page")


class DatasetText(Frozen):
    """Texts of a dataset that the library `datasets` reads: a public one of the Hugging Face hub by `name`, or a folder
    of its files (parquet, JSON lines, CSV, text, arrow) by `path`.

    The first texts of the split are taken, as a stream: no more is fetched than what is taken. No code of a dataset is
    run, and no token is sent to the hub.
    """

    name: str | None = Field(
        default=None,
        max_length=200,
        pattern=r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$",
        description="owner/name on the hub",
    )
    path: str | None = Field(
        default=None, min_length=1, max_length=1_000, description="a folder on this machine"
    )
    config: str | None = Field(
        default=None, min_length=1, max_length=200, description="which subset, where there are several"
    )
    split: str = Field(default="train", pattern=r"^\w[\w.-]{0,99}$")
    column: str = Field(
        default="text", min_length=1, max_length=200, description="the one that holds the text"
    )
    revision: str = Field(
        default="main",
        pattern=r"^\w[\w./-]{0,199}$",
        description="of a hub dataset: a branch, a tag, or a commit, which alone never changes",
    )
    texts: int = Field(
        default=10_000, ge=1, le=1_000_000, description="most texts taken; empty ones do not count"
    )
    characters: int = Field(
        default=20_000_000,
        ge=1,
        le=2_000_000_000,
        description="most taken in all; the text that passes it is cut",
    )

    @model_validator(mode="after")
    def _one_place(self) -> DatasetText:
        if (self.name is None) == (self.path is None):
            raise ValueError("give either “name”, a dataset on the hub, or “path”, a folder of its files.")
        if self.path is not None and self.revision != "main":
            raise ValueError("revision goes with “name”; a folder has none.")
        return self


class CorpusData(Frozen):
    """Windows of running text, drawn anew each step, from a file or folder (the end of every file is held out) or from
    the texts of a dataset (the last of them are held out)."""

    kind: Literal["corpus"] = "corpus"
    path: str | None = Field(
        default=None, min_length=1, description="a text file, or a folder of them (UTF-8)"
    )
    glob: str = Field(default="*.txt", min_length=1, description="which files of a folder")
    dataset: DatasetText | None = Field(default=None, description="instead of a path")
    window: int = Field(default=64, ge=2, le=8192, description="tokens a window; shorter texts are padded")
    batch_size: int = Field(default=16, ge=1, le=65_536, description="windows a step")
    held_out: float = Field(
        default=0.1,
        gt=0,
        lt=1,
        description="the share of each file, or of a dataset, that is never trained on",
    )
    evaluation: int = Field(
        default=64,
        ge=1,
        le=4096,
        description="windows a split for start values, pruning, harvest and evidence",
    )
    shown: int = Field(default=4, ge=1, le=64, description="windows kept for the page")
    bos: bool = False

    @model_validator(mode="after")
    def _one_source(self) -> CorpusData:
        if (self.path is None) == (self.dataset is None):
            raise ValueError("give either “path”, a text file or folder, or “dataset”, one of the two.")
        if self.dataset is not None and self.glob != "*.txt":
            raise ValueError("glob goes with “path”; “dataset” would ignore it.")
        return self


class Relation(Frozen):
    """Facts of one kind: subjects put into templates, each with the token that follows.

    `templates` are trained on, `held_out` are not; in each, `{}` stands for the subject.
    """

    name: str = Field(min_length=1, max_length=100)
    templates: tuple[str, ...] = Field(min_length=1, max_length=100)
    held_out: tuple[str, ...] = Field(default=(), max_length=100)
    facts: dict[str, str] = Field(
        min_length=1, max_length=2_000, description="subject → answer, one token, with its leading space"
    )

    @model_validator(mode="after")
    def _templates_have_a_place(self) -> Relation:
        for template in (*self.templates, *self.held_out):
            if template.count("{}") != 1:
                raise ValueError(f"the template “{template}” must hold {{}} once, where the subject stands.")
        return self


class FactsData(Frozen):
    """Facts that the target really knows: of all candidates those whose answer is among the `rank` likeliest tokens
    after the first template of their relation."""

    kind: Literal["facts"] = "facts"
    relations: tuple[Relation, ...] = Field(min_length=1, max_length=50)
    rank: int = Field(default=1, ge=1, le=1_000_000)
    batch_size: int | None = Field(default=None, ge=1, description="prompts a step; null: all of them")
    bos: bool = False


DataConfig = Annotated[PromptsConfig | InductionData | CorpusData | FactsData, Field(discriminator="kind")]


class CheckConfig(Frozen):
    """A selectivity test the run makes at its end: suppress the groups, watch an answer on a prompt."""

    groups: tuple[str, ...] = Field(min_length=1, description="group names, as harvested: ␣Woods")
    prompt: str
    answer: str
    role: Literal["target", "bystander", "reverse"]
    at_least: float | None = Field(default=None, description="the share by which the probability must fall")
    at_most: float | None = Field(default=None, description="the share by which it may move, either way")
    keeps: float | None = Field(default=None, description="the share of the probability that must remain")


# --- training -------------------------------------------------------------------------------------------------


class StartConfig(Frozen):
    """Start values of V and U.

    random: V ~ N(0, 1/d_in), U ~ N(0, 1/C). svd: leading singular directions of W. data: the dual basis of the
    token inputs, exact on the data; with `background`, the dual that is quietest on other text (a file of sentences
    in workers/spd/data), the more so the larger `ridge`.
    """

    kind: Literal["random", "svd", "data"] = "data"
    background: Literal["english"] | None = None
    ridge: float = Field(default=1.0, gt=0)
    background_layers: int | None = Field(
        default=None,
        ge=0,
        description="only sites below this layer are made quiet; null: all. A quiet dual is a longer one"
        " and suffers more when other sites are masked, so it pays where the stream is still clean",
    )

    contexts: int | None = Field(
        default=None,
        ge=0,
        description="with start `data`: one component a distinct token (the mean of its inputs) and this many for how a"
        " token's inputs differ between contexts, shared by all tokens; null: one a token of every prompt",
    )

    @model_validator(mode="after")
    def _background_is_used(self) -> StartConfig:
        if self.background is not None and self.kind != "data":
            raise ValueError(f"background goes with kind “data”; “{self.kind}” would ignore it.")
        if self.contexts is not None and self.kind != "data":
            raise ValueError(f"contexts goes with kind “data”; “{self.kind}” would ignore it.")
        if "ridge" in self.model_fields_set and self.ridge != 1.0 and self.background is None:
            raise ValueError("ridge weighs a background; without one it would be ignored.")
        return self


class OptimizerConfig(Frozen):
    """Adam with a cosine decay to zero after `warmup` (share of the steps)."""

    ci_learning_rate: float = Field(default=5e-3, gt=0)
    component_learning_rate: float = Field(default=5e-5, gt=0)
    component_steps: Literal["absolute", "relative"] = Field(
        default="absolute",
        description="relative: the rates of V and U are multiplied, a site, by the RMS of their start values, since the"
        " weights of real models differ in scale by orders of magnitude",
    )
    read_learning_rate: float | None = Field(
        default=None,
        ge=0,
        description="V's own; null: as the components'; 0 keeps the read directions of the start",
    )
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.99, ge=0, lt=1)
    epsilon: float = Field(
        default=1e-8,
        gt=0,
        description="Adam's: gradients far below it hardly move anything, so a run that is done settles instead of"
        " drifting with noise",
    )
    warmup: float = Field(default=0.0, ge=0, le=1)
    grad_clip: float | None = Field(
        default=None, gt=0, description="largest norm of a gradient; longer ones are scaled down to it"
    )
    grad_clip_by: Literal["all", "part"] = Field(
        default="all",
        description="all: the norm of everything trained; part: every importance function, V and U by itself, so that"
        " one spike of a site neither silences the others nor lives on in its Adam moments",
    )


class ReconstructionConfig(Frozen):
    """What counts as the same output."""

    positions: Literal["answer", "all"] = "all"
    distance: Literal["kl", "mse"] = "kl"
    first_position: Literal["masked", "unmasked"] = Field(
        default="masked",
        description="unmasked: the target's own weights run at position 0 (an attention sink in Llama)",
    )


Share = Annotated[float, Field(gt=0, lt=1)]


class PruneConfig(Frozen):
    """Drop components that are dead on the data at these shares of the steps."""

    at: tuple[Share, ...] = (0.5, 0.75)
    below: float = Field(default=0.02, ge=0, le=1, description="dead: CI never above this on the data")


class AdaptConfig(Frozen):
    """With `C: auto`: fit the number of components to what is used, at these shares of the steps. Dead ones go; a site
    whose remainder alone carries more than `grow_above` gets `grow` more, along what the remainder does on the data."""

    at: tuple[Share, ...] = Field(default=(0.25, 0.5, 0.75), min_length=1, max_length=20)
    prune_below: float = Field(default=0.02, ge=0, le=1, description="dead: CI never above this on the data")
    grow_above: float = Field(
        default=0.05,
        gt=0,
        description="KL with the site's remainder alone off, nats at the counted positions",
    )
    grow: int = Field(default=8, ge=1, le=1024, description="components a site and adaptation, at most")


class EliminateConfig(Frozen):
    """Take components out that the output does not need, at these shares of the steps (backward elimination)."""

    at: tuple[Share, ...] = (0.5, 0.7)
    budget: float = Field(
        default=0.05,
        gt=0,
        description="KL under CI-as-masks that may be spent, nats at the counted positions",
    )
    rounds: int = Field(default=2, ge=1, le=20)


class DecomposeConfig(Frozen):
    """Everything that decides what a run computes. The same config, seed and device give the same numbers."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,99}$", description="slug of the result")
    title: str = Field(default="", max_length=200)
    description: str = Field(default="", max_length=2_000)
    seed: Seed = 0
    target: Source
    sites: tuple[str, ...] = Field(min_length=1, description="module paths; * matches within a path")
    C: int | Literal["auto"] = Field(
        default=16,
        description="components a site at the start; auto: one per token input (start data) or full rank, and from "
        "there as `adapt` says. A data start takes at most one per token input.",
    )
    start: StartConfig = StartConfig()
    ci: CIConfig = SharedMLPCI()
    losses: tuple[Loss, ...] = Field(min_length=1)
    data: DataConfig
    reconstruction: ReconstructionConfig = ReconstructionConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    steps: int = Field(default=1_000, ge=1, le=10_000_000)
    faithfulness_steps: int = Field(
        default=0, ge=0, le=10_000_000, description="steps on faithfulness alone, before the run"
    )
    adapt: AdaptConfig | None = None
    prune: PruneConfig | None = None
    eliminate: EliminateConfig | None = None
    threshold: float = Field(default=0.1, gt=0, lt=1, description="CI above which a component counts as used")
    checkpoint_every: int = Field(default=200, ge=1)
    log_every: int = Field(default=20, ge=1)
    evidence_every: int | None = Field(
        default=200,
        ge=1,
        description="steps between small evidence tables in the log; null: only the one at the end",
    )
    checks: tuple[CheckConfig, ...] = ()
    stored_dtype: Literal["float32", "float16"] = "float32"
    precision: Literal["float32", "bf16"] = Field(
        default="float32",
        description="bf16: training's masked passes run under autocast; losses stay float32",
    )

    @model_validator(mode="after")
    def _components_are_positive(self) -> DecomposeConfig:
        if isinstance(self.C, int) and not 1 <= self.C <= 100_000:
            raise ValueError("C must lie between 1 and 100,000.")
        kinds = [loss.kind for loss in self.losses]
        if len(set(kinds)) != len(kinds):
            raise ValueError("Each kind of loss may stand once in “losses”.")
        return self

    @model_validator(mode="after")
    def _adapt_is_used(self) -> DecomposeConfig:
        if self.adapt is not None and self.C != "auto":
            raise ValueError(f"adapt goes with C: auto; a fixed C ({self.C}) stays as it is.")
        if self.adapt is not None and self.prune is not None:
            raise ValueError("adapt drops dead components itself; leave prune out.")
        return self

    @model_validator(mode="after")
    def _start_fits_the_data(self) -> DecomposeConfig:
        if self.data.kind == "corpus" and self.start.kind == "data":
            raise ValueError(
                "start.kind “data” gives each token input a component of its own, for short prompts; a corpus has too "
                "many. Take “svd” or “random”."
            )
        return self

    @model_validator(mode="after")
    def _data_fit_the_target(self) -> DecomposeConfig:
        if (self.target.kind == "induction") != (self.data.kind == "induction"):
            raise ValueError(
                f"data.kind “{self.data.kind}” does not go with target.kind “{self.target.kind}”: the induction model "
                "reads sequences drawn for it (data.kind “induction”), every other model prompts."
            )
        return self


def _sentence(error: ValidationError) -> str:
    parts: list[str] = []
    for item in error.errors()[:5]:
        where = ".".join(str(step) for step in item["loc"]) or "config"
        what = (
            "is not a known key"
            if item["type"] == "extra_forbidden"
            else item["msg"].removeprefix("Value error, ")
        )
        parts.append(f"{where}: {what}")
    more = len(error.errors()) - 5
    return "The config cannot be used. " + "; ".join(parts) + (f"; and {more} more." if more > 0 else ".")


def parse_config(data: Any) -> DecomposeConfig:
    """Validate a config that came as plain data. Raises ConfigError naming every key at fault."""
    try:
        return DecomposeConfig.model_validate(data)
    except ValidationError as error:
        raise ConfigError(_sentence(error)) from None


PRESETS = Path(__file__).parent / "presets"


def preset_names() -> list[str]:
    """The presets that ship, by name."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def load_config(name_or_path: str) -> DecomposeConfig:
    """A preset by name, or a YAML file by path. Raises ConfigError where neither can be read."""
    path = Path(name_or_path)
    if not path.suffix:
        path = PRESETS / f"{name_or_path}.yaml"
        if not path.is_file():
            raise ConfigError(
                f"There is no preset “{name_or_path}”. Presets: {', '.join(preset_names())}; or give a .yaml file."
            )
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The config {path} cannot be read: {error}.") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"The config {path} is not valid YAML: {error}.") from None
    return parse_config(data)


def with_overrides(data: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """A copy of plain config data with dotted keys set on top: `{"optimizer.warmup": 0.1}`."""
    result = deepcopy(data)
    for dotted, value in overrides.items():
        *parents, last = dotted.split(".")
        place = result
        for parent in parents:
            place = place.setdefault(parent, {}) if isinstance(place, dict) else None
            if not isinstance(place, dict):
                raise ConfigError(f"“{dotted}” does not name a place in the config.")
        place[last] = value
    return result
