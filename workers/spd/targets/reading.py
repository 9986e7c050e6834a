"""A causal language model as `transformers` reads one, from a folder, a hub or a GGUF file: checked, or refused in a
sentence. No code that came with a model is ever run, and no pickle is ever read."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from safetensors import SafetensorError
from tokenizers import Tokenizer
from torch import Tensor

CAUSAL_TOKENS = 8
AGREES = 1e-3  # of the largest logit
LENGTH = 300

# What a config says that changes no number of a pass.
NO_MATTER = {
    "_name_or_path", "transformers_version", "torch_dtype", "dtype", "use_cache", "bos_token_id", "eos_token_id",
    "pad_token_id", "output_attentions", "output_hidden_states", "return_dict", "id2label", "label2id",
    "quantization_config",
}  # fmt: skip
NOT_CAUSAL = {
    "ForMaskedLM": "a masked language model", "ForPreTraining": "a masked language model",
    "ForSequenceClassification": "a classifier", "ForTokenClassification": "a classifier",
    "ForQuestionAnswering": "a question answerer",
}  # fmt: skip
SENTENCEPIECE = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
WAY_OUT = "Unweave decomposes causal language models, which predict each token from those before it."


class TargetError(Exception):
    """A target that cannot be had; the message is a plain sentence with a way out."""


@dataclass(frozen=True)
class ReadModel:
    """`config_hash`: of all that its config says about what it computes."""

    model: Any
    tokenizer: Tokenizer
    config_hash: str


@dataclass(frozen=True)
class Described:
    """What a model says of itself without its weights."""

    config: Any
    tokenizer: Tokenizer
    license: str | None


def sentence(error: BaseException) -> str:
    """What a library says, in one line and cut between words."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= LENGTH else text[:LENGTH].rsplit(" ", 1)[0] + " …"


def config_hash(config: dict[str, Any]) -> str:
    """SHA-256 of a config without what changes no number: two models of the same weights but another window, another
    scaling of their positions or another cap are not the same model."""
    described = {key: value for key, value in config.items() if key not in NO_MATTER}
    return hashlib.sha256(json.dumps(described, sort_keys=True, default=str).encode()).hexdigest()


def read_model(place: str, *, revision: str | None = None, gguf_file: str | None = None) -> ReadModel:
    """The model and tokenizer at `place`: a folder (without `revision`), or `owner/name` on the hub. In float32.

    Raises TargetError where it is not there, is no causal language model, lacks weights, or has no tokenizer.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    name, options = _options(place, revision, gguf_file)
    try:
        config = AutoConfig.from_pretrained(place, **options)
        _check_config(config, name)
        safe = {} if gguf_file is not None else {"use_safetensors": True}
        made: Any = AutoModelForCausalLM.from_pretrained(
            place,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **options,
            **safe,
        )
    except (
        OSError,
        ValueError,
        KeyError,
        RuntimeError,
        ImportError,
        SafetensorError,
        AttributeError,
    ) as error:
        raise TargetError(f"{name} cannot be loaded: {sentence(error)}") from None
    model, loaded = made
    mismatched = (key if isinstance(key, str) else key[0] for key in loaded["mismatched_keys"])
    missing = sorted({*loaded["missing_keys"], *mismatched})
    if missing:
        rest = f" and {len(missing) - 1:,} more" if len(missing) > 1 else ""
        raise TargetError(
            f"{name} lacks weights that its config asks for ({missing[0]}{rest}). Its config.json and its weights do "
            "not belong together; save the model again with `save_pretrained`."
        )
    model.eval()
    if model.config.get_text_config() is not model.config:
        model = _text_model(model, name)
    _check_causal(model, name)
    tokenizer = _tokenizer(place, name, options)
    if gguf_file is not None:
        return ReadModel(model, tokenizer, _gguf_hash(Path(place) / gguf_file))
    raw = _file(place, "config.json", revision)
    described = model.config.to_dict() if raw is None else json.loads(raw.read_text(encoding="utf-8"))
    return ReadModel(model, tokenizer, config_hash(described))


def read_description(place: str, *, revision: str | None = None, gguf_file: str | None = None) -> Described:
    """Config, tokenizer and licence of what `read_model` would read, without its weights. Raises TargetError as that
    does, where the config or the files already tell."""
    from transformers import AutoConfig

    name, options = _options(place, revision, gguf_file)
    try:
        config = AutoConfig.from_pretrained(place, **options)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, AttributeError) as error:
        raise TargetError(f"{name} cannot be loaded: {sentence(error)}") from None
    _check_config(config, name)
    return Described(config, _tokenizer(place, name, options), _license(place, revision))


def _options(place: str, revision: str | None, gguf_file: str | None) -> tuple[str, dict[str, Any]]:
    """What messages call the model at `place`, and how transformers is to read it."""
    name = f"“{gguf_file or (Path(place).name if revision is None else place)}”"
    options: dict[str, Any] = {"trust_remote_code": False}
    if revision is not None:
        options["revision"] = revision
    elif gguf_file is None:
        _check_folder(Path(place), name)
    if gguf_file is not None:
        options["gguf_file"] = gguf_file
    return name, options


def _license(place: str, revision: str | None) -> str | None:
    """What the model card beside the weights says."""
    from huggingface_hub import ModelCard

    card = _file(place, "README.md", revision)
    try:
        return None if card is None else getattr(ModelCard.load(card).data, "license", None)
    except (OSError, ValueError, AttributeError):  # a card that is not one
        return None


def _gguf_hash(file: Path) -> str:
    """SHA-256 of all that stands in a GGUF file before its weights."""
    from gguf import GGUFReader

    with file.open("rb") as opened:
        return hashlib.sha256(opened.read(GGUFReader(file).data_offset)).hexdigest()


def _check_folder(folder: Path, name: str) -> None:
    if not folder.is_dir():
        raise TargetError(f"There is no model folder {name}.")
    if not (folder / "config.json").is_file():
        raise TargetError(
            f"{name} cannot be loaded: it holds no config.json. Name the folder that `save_pretrained` wrote, or a "
            "GGUF file."
        )
    if not any(folder.glob("*.safetensors")):
        pickles = [*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.pth")]
        if pickles:
            raise TargetError(
                f"{name} cannot be loaded: its weights are a pickle ({pickles[0].name}), which can run code of its "
                'own and is never read. Where you trust it, write it again as safetensors: `python -c "from '
                "transformers import AutoModelForCausalLM as M; "
                f"M.from_pretrained('{folder.name}').save_pretrained('{folder.name}')\"`."
            )
        raise TargetError(f"{name} cannot be loaded: it holds no weights (*.safetensors).")


def _check_config(config: Any, name: str) -> None:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    if config.is_encoder_decoder:
        raise TargetError(f"{name} is an encoder–decoder model ({type(config).__name__}). {WAY_OUT}")
    for architecture in config.architectures or []:
        for ending, what in NOT_CAUSAL.items():
            if architecture.endswith(ending):
                raise TargetError(f"{name} is {what} ({architecture}). {WAY_OUT}")
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise TargetError(
            f"{name} is no causal language model that this version of transformers knows ({type(config).__name__}). "
            f"{WAY_OUT}"
        )


@torch.no_grad()
def _text_model(whole: Any, name: str) -> Any:
    """The language model inside one that reads images or sound too, checked on tokens."""
    from transformers import AutoModelForCausalLM

    text: Any = None
    try:
        with torch.device("meta"):
            text = AutoModelForCausalLM.from_config(whole.config.get_text_config())
        setattr(text, text.base_model_prefix, whole.get_decoder())
        text.set_output_embeddings(whole.get_output_embeddings())
        text.eval()
        tokens = _tokens(text)
        wanted, found = whole(input_ids=tokens).logits, text(input_ids=tokens, use_cache=False).logits
        same = bool((found - wanted).abs().max() <= 1e-5 * wanted.abs().max())
    except (RuntimeError, ValueError, AttributeError, NotImplementedError, TypeError, KeyError):
        same = False
    if not same:
        raise TargetError(
            f"{name} reads more than text ({type(whole).__name__}), and its language model cannot be taken out of it. "
            "Save the language model alone and name that."
        )
    return text


def _tokens(model: Any) -> Int[Tensor, "1 seq"]:
    rows = model.get_input_embeddings().weight.shape[0]
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, rows, (1, CAUSAL_TOKENS), generator=generator)


@torch.no_grad()
def _check_causal(model: Any, name: str) -> None:
    """Change the last token: no logits before it may move."""
    tokens = _tokens(model)
    other = tokens.clone()
    other[0, -1] = (tokens[0, -1] + 1) % model.get_input_embeddings().weight.shape[0]
    try:
        one, two = (model(input_ids=ids, use_cache=False).logits[0, :-1] for ids in (tokens, other))
    except (RuntimeError, ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
        raise TargetError(f"{name} does not run on tokens alone: {sentence(error)}") from None
    if not bool((one - two).abs().max() <= AGREES * one.abs().max()):
        raise TargetError(
            f"{name} ({type(model).__name__}) is not causal: what it predicts at a token depends on the tokens after "
            f"it. {WAY_OUT}"
        )


def _file(place: str, file: str, revision: str | None) -> Path | None:
    """A file of the folder or of the hub's repository; None where there is none."""
    if revision is None:
        path = Path(place) / file
        return path if path.is_file() else None
    from transformers.utils.hub import cached_file

    try:
        found = cached_file(place, file, revision=revision)
    except OSError:
        return None
    return None if found is None else Path(found)


def _tokenizer(place: str, name: str, options: dict[str, Any]) -> Tokenizer:
    """tokenizer.json as it stands where there is one, else what `transformers` makes of the other files."""
    from transformers import AutoTokenizer

    if "gguf_file" not in options:
        stored = _file(place, "tokenizer.json", options.get("revision"))
        if stored is not None:
            try:
                return Tokenizer.from_file(str(stored))
            except Exception as error:  # the library raises bare Exception for a malformed file
                raise TargetError(f"The tokenizer.json of {name} cannot be read: {sentence(error)}") from None
    way_out = (
        "Unweave needs a tokenizer.json: where the tokenizer is known, save it there with "
        "`AutoTokenizer.from_pretrained(…).save_pretrained(…)`."
    )
    if "gguf_file" not in options and find_spec("sentencepiece") is None:
        for file in SENTENCEPIECE:
            if _file(place, file, options.get("revision")) is not None:
                raise TargetError(
                    f"{name} has its tokenizer as a SentencePiece model alone ({file}), which takes two more packages "
                    "to read: `pip install sentencepiece protobuf`. With them it is read as it is."
                )
    try:
        made = getattr(AutoTokenizer.from_pretrained(place, **options), "backend_tokenizer", None)
    except Exception as error:  # of whatever library reads this kind of tokenizer
        raise TargetError(
            f"{name} has no tokenizer that can be read ({sentence(error)}). {way_out}"
        ) from None
    if made is None or made.get_vocab_size() == 0:
        raise TargetError(f"{name} has no fast tokenizer. {way_out}")
    return made


def stamp(path: Path) -> str:
    """What a model folder, or a file, looks like on disk: names, sizes and times of its files, hashed. Copied, written
    or replaced, it is another one."""
    files = sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]
    seen = [
        f"{file.name}|{info.st_size}|{info.st_mtime_ns}|{info.st_ctime_ns}"
        for file in files
        if re.search(r"\.(json|safetensors|gguf|model|txt|jinja)$", file.name)
        for info in (file.stat(),)
    ]
    return hashlib.sha256("\n".join(seen).encode()).hexdigest()[:12]
