"""The second stream of a targeted decomposition: windows of running text the run is not about (SPEC 27)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from workers.spd.config import ConfigError, RestConfig
from workers.spd.corpora.corpus import BYTES_A_TOKEN, Corpus, CorpusSplit
from workers.spd.corpora.dataset_texts import Taken
from workers.spd.prompts.batches import Batch, Prompt, clean_batch, padded
from workers.spd.targets.masks import recorded
from workers.spd.targets.target import Target
from workers.spd.targets.tokenizer import PromptTokenizer

LEAST_WINDOWS = 64  # in the part that is trained on
KNOWN = 0.5  # share of tokens that must not be the tokenizer's “unknown”
CHUNK = 32


class RestText:
    """Windows of the rest text, training and held-out ones never of the same part.

    Raises ConfigError where the text is too short, belongs to another tokenizer, or holds one of the run's prompts.
    """

    def __init__(
        self,
        config: RestConfig,
        target: Target,
        tokenizer: PromptTokenizer,
        prompts: list[Prompt],
        taken: Taken | None = None,
    ) -> None:
        self.config, self.target = config, target
        self.words = sorted({p.ids[at] for p in prompts if p.data.split == "train" for at in p.subject})
        if config.planted and not self.words:
            raise ConfigError(
                "rest.planted puts the tokens of the run's subjects into other text: give the prompts a `fact` that "
                "stands in them, word for word."
            )
        try:
            self.corpus = Corpus(config.text, tokenizer, taken)
        except ConfigError as error:
            raise ConfigError(f"rest.text: {str(error).removeprefix('data.')}") from None
        self._check(tokenizer, prompts)

    def _check(self, tokenizer: PromptTokenizer, prompts: list[Prompt]) -> None:
        wanted = {prompt.data.text.strip() for prompt in prompts}
        splits: tuple[tuple[CorpusSplit, str, int], ...] = (
            ("train", "training", LEAST_WINDOWS), ("held_out", "held-out", 1),
        )  # fmt: skip
        for split, part, windows in splits:
            least, ids = windows * self.config.text.window, list[int]()
            for text in self.corpus.parts(split):
                for prompt in wanted:
                    if prompt in text:
                        raise ConfigError(
                            f"rest.text holds the prompt “{prompt[:60]}”, which the run is about. Take it out of the "
                            "text, or give other text."
                        )
                if len(ids) < least:
                    ids += tokenizer.encode(text[: BYTES_A_TOKEN * least], bos=False)
            if len(ids) < least:
                raise ConfigError(
                    f"rest.text is too short: its {part} part has {len(ids):,} tokens and needs at least {least:,} for "
                    f"windows of {self.config.text.window}. Give more text, or a smaller “rest.text.window”."
                )
            unknown = tokenizer.unknown_token_id
            if unknown is not None and ids.count(unknown) > (1 - KNOWN) * len(ids):
                raise ConfigError(
                    "rest.text belongs to another tokenizer: this model's knows less than half of its words. Give text "
                    "in the model's own vocabulary."
                )

    def windows(
        self, count: int, split: CorpusSplit, generator: torch.Generator, planted: float = 0.0
    ) -> list[list[int]]:
        """Windows of ids from random places; a share `planted` of them holds a token of a subject, never as its
        first."""
        drawn = self.corpus.draw(count, split, generator)
        for window in drawn[: round(planted * count)]:
            at, which = torch.rand(2, generator=generator).tolist()
            window[1 + int(at * (len(window) - 1))] = self.words[int(which * len(self.words))]
        return drawn

    def next(self, generator: torch.Generator) -> Batch:
        """The batch of one step, its outputs kept at all positions."""
        text = self.config.text
        windows = self.windows(text.batch_size, "train", generator, self.config.planted)
        return clean_batch(self.target, windows, "all")

    def sample(self, count: int, seed: int) -> Batch:
        """Training windows by which groups are chosen; where words are planted, each holds one."""
        generator = torch.Generator().manual_seed(seed + 4)
        planted = 1.0 if self.config.planted else 0.0
        return clean_batch(self.target, self.windows(count, "train", generator, planted), "all")

    def quieting(self, seed: int) -> Iterator[Batch]:
        """Training windows by which writes are made quiet, a batch at a time: all outputs would fill the memory."""
        assert self.config.quiet_writes is not None
        generator = torch.Generator().manual_seed(seed + 5)
        windows = self.windows(self.config.quiet_writes.windows, "train", generator)
        for at in range(0, len(windows), CHUNK):
            yield clean_batch(self.target, windows[at : at + CHUNK], "all")

    def evaluation(self, split: CorpusSplit, seed: int) -> list[Batch]:
        """The windows that figures are of, the same for the same seed, in batches that fit the memory."""
        generator = torch.Generator().manual_seed(seed + 2)
        windows = self.windows(self.config.text.evaluation, split, generator)
        return [
            clean_batch(self.target, windows[at : at + CHUNK], "all") for at in range(0, len(windows), CHUNK)
        ]

    def moments(
        self, sites: list[str], seed: int, check_stop: Callable[[], None] = lambda: None
    ) -> dict[str, Float[Tensor, "d_in d_in"]]:
        """Mean of x xᵀ over training windows, what each site reads there, first positions left out. In float64; sites
        that read token ids have none. Where words are planted, every window here holds one; but not for layer 0, which
        reads little but the token itself, so that no direction tells a word there from the same word elsewhere."""

        def of(chosen: list[str], planted: float) -> dict[str, Float[Tensor, "d_in d_in"]]:
            generator = torch.Generator().manual_seed(seed + 3)
            windows = self.windows(self.config.start_windows, "train", generator, planted)
            return second_moments(self.target, chosen, windows, check_stop)

        if not self.config.planted:
            return of(sites, 0.0)
        first = [site for site in sites if self.target.layer(site) == 0]
        later = [site for site in sites if site not in first]
        return (of(first, 0.0) if first else {}) | (of(later, 1.0) if later else {})


@torch.no_grad()
def second_moments(
    target: Target,
    sites: list[str],
    windows: list[list[int]],
    check_stop: Callable[[], None] = lambda: None,
) -> dict[str, Float[Tensor, "d_in d_in"]]:
    """Mean of x xᵀ over all positions of these windows but the first. Passes end at the last of the sites."""
    sums: dict[str, Tensor] = {}
    count = 0
    for at in range(0, len(windows), CHUNK):
        check_stop()
        tokens, valid = padded(windows[at : at + CHUNK])
        valid[:, 0] = False
        with recorded(only=sites) as inputs:
            target.logits(tokens.to(target.device), torch.zeros(1, dtype=torch.long, device=target.device))
        count += int(valid.sum())
        shared: dict[int, Tensor] = {}
        for site, x in inputs.items():
            if not x.is_floating_point():
                continue
            if x.data_ptr() not in shared:  # sites that read the same have the same moments
                own = x[valid.to(x.device)].float()
                shared[x.data_ptr()] = (own.T @ own).double()
            product = shared[x.data_ptr()]
            sums[site] = sums[site] + product if site in sums else product
    return {site: total / max(1, count) for site, total in sums.items()}
