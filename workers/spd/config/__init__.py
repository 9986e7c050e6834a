"""The one configuration of a decomposition: YAML preset = request body = stored JSON.

Every model is frozen and forbids unknown keys; an unknown key is an error that names it. Units: learning rates
per Adam step, coefficients multiply losses in nats (reconstruction) or squared weight units (faithfulness).

    run       the whole, with what of one part must fit another
    sources   where the target's weights come from
    data      what is read: prompts, induction sequences, a corpus, facts
    texts     texts of a package, for models and corpora
    ci        causal importance functions
    losses    what is trained on
    rest      the second stream of a targeted decomposition
    training  start values, steps, and how many components there are in the end
    reading   from YAML, presets and plain data, with every key at fault named
"""

from workers.spd.config.base import ConfigError, Frozen, Seed
from workers.spd.config.ci import (
    MLPCI,
    AttentionCI,
    CIBase,
    CIConfig,
    SharedMLPCI,
    TransformerCI,
    VectorMLPCI,
)
from workers.spd.config.data import (
    CorpusData,
    DataConfig,
    DatasetText,
    FactsData,
    InductionData,
    PromptData,
    PromptsConfig,
    Relation,
)
from workers.spd.config.losses import (
    AdversarialReconstruction,
    AdversaryOptions,
    Coefficient,
    Faithfulness,
    ImportanceMinimality,
    Loss,
    PartialReconstruction,
    Sampled,
    Shared,
    StochasticReconstruction,
)
from workers.spd.config.reading import PRESETS, load_config, parse_config, preset_names, with_overrides
from workers.spd.config.rest import QuietWrites, RestConfig
from workers.spd.config.run import CheckConfig, DecomposeConfig
from workers.spd.config.sources import (
    FolderSource,
    HubSource,
    InductionSource,
    PackageSource,
    Source,
    TextModelSource,
)
from workers.spd.config.texts import PackageText
from workers.spd.config.training import (
    AdaptConfig,
    EliminateConfig,
    OptimizerConfig,
    PruneConfig,
    ReconstructionConfig,
    Share,
    StartConfig,
)

__all__ = [
    "MLPCI",
    "PRESETS",
    "AdaptConfig",
    "AdversarialReconstruction",
    "AdversaryOptions",
    "AttentionCI",
    "CIBase",
    "CIConfig",
    "CheckConfig",
    "Coefficient",
    "ConfigError",
    "CorpusData",
    "DataConfig",
    "DatasetText",
    "DecomposeConfig",
    "EliminateConfig",
    "FactsData",
    "Faithfulness",
    "FolderSource",
    "Frozen",
    "HubSource",
    "ImportanceMinimality",
    "InductionData",
    "InductionSource",
    "Loss",
    "OptimizerConfig",
    "PackageSource",
    "PackageText",
    "PartialReconstruction",
    "PromptData",
    "PromptsConfig",
    "PruneConfig",
    "QuietWrites",
    "ReconstructionConfig",
    "Relation",
    "RestConfig",
    "Sampled",
    "Seed",
    "Share",
    "Shared",
    "SharedMLPCI",
    "Source",
    "StartConfig",
    "StochasticReconstruction",
    "TextModelSource",
    "TransformerCI",
    "VectorMLPCI",
    "load_config",
    "parse_config",
    "preset_names",
    "with_overrides",
]
