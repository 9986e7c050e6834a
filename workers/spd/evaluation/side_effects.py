"""What suppressing components does to text they were not chosen on: `python -m workers.spd.evaluation.side_effects
ARTEFACT KEYS ANSWER`, keys joined by commas, for a decomposition of running text."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from workers.spd.ablation.loading import artifact_target, load_decomposition
from workers.spd.artifact import read_artifact
from workers.spd.config import CorpusData
from workers.spd.corpora.corpus import Corpus
from workers.spd.corpora.dataset_texts import ensure_texts
from workers.spd.keys import ComponentKey
from workers.spd.method.decomposition import Decomposition
from workers.spd.targets.masks import SiteMask, masked
from workers.spd.targets.tokenizer import PromptTokenizer

WINDOWS, SEED, ROWS = 500, 77, 50
MUCH = 0.1  # nats


@dataclass(frozen=True)
class SideEffects:
    """`kl`: mean KL(target ‖ suppressed) a position, nats; `much`: share of positions above 0.1 nats; `same_choice`:
    share whose likeliest token stays; `before`, `after`: mean probability of the answer at the `follows` positions
    where it is the next token (NaN where there are none)."""

    positions: int
    kl: float
    much: float
    same_choice: float
    follows: int
    before: float
    after: float


@torch.no_grad()
def side_effects(
    decomposition: Decomposition,
    windows: Int[Tensor, "windows seq"],
    keys: Sequence[ComponentKey],
    answer: int,
) -> SideEffects:
    """The components suppressed at full strength at all positions, the remainder on."""
    components = decomposition.components
    by_site: dict[str, list[int]] = {}
    for key in keys:
        by_site.setdefault(key.site, []).append(components.index[key.site].index(key.index))
    masks = {
        site: SiteMask(components.V[site][:, at], components.U[site][at], -torch.ones(1, 1, len(at)))
        for site, at in by_site.items()
    }
    kl, same, before, after = [], [], [], []
    for tokens in windows.split(ROWS):
        clean = torch.log_softmax(decomposition.target.logits(tokens).float(), -1)
        with masked(masks):
            changed = torch.log_softmax(decomposition.target.logits(tokens).float(), -1)
        kl.append((clean.exp() * (clean - changed)).sum(-1).flatten())
        same.append((clean.argmax(-1) == changed.argmax(-1)).flatten())
        follows = tokens[:, 1:] == answer
        before.append(clean[:, :-1, answer].exp()[follows])
        after.append(changed[:, :-1, answer].exp()[follows])
    nats, there = torch.cat(kl), torch.cat(before)
    return SideEffects(
        len(nats), float(nats.mean()), float((nats > MUCH).float().mean()), float(torch.cat(same).float().mean()),
        len(there), float(there.mean()), float(torch.cat(after).mean()),
    )  # fmt: skip


def main(path: Path, keys: str, answer: str) -> int:
    """Print the side effects on held-out windows; 1 where the decomposition is not over running text."""
    artifact = read_artifact(path)
    home = Path.home() / ".unweave"
    config = artifact.manifest.config
    if not isinstance(config.data, CorpusData) or config.data.texts is None:
        print(
            f"“{artifact.name}” is not a decomposition over texts of a dataset or package.", file=sys.stderr
        )
        return 1
    target = artifact_target(artifact, home)
    tokenizer = PromptTokenizer.from_file(
        path / "tokenizer.json", bos_token_id=None, context_length=config.data.window
    )
    corpus = Corpus(config.data, tokenizer, ensure_texts(config.data.texts, home, report=print))
    drawn = corpus.draw(WINDOWS, "held_out", torch.Generator().manual_seed(SEED))
    windows = torch.tensor([window for window in drawn if len(window) == config.data.window])
    token = tokenizer.token_id(answer)
    if token is None:
        print(f"“{answer}” is not one token of this model.", file=sys.stderr)
        return 1
    chosen = [ComponentKey.parse(key) for key in keys.split(",")]
    print(side_effects(load_decomposition(artifact, target), windows, chosen, token))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
