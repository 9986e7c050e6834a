"""Facts of a model of running text: the phrases of held-out text whose next token it predicts best.

The rule: runs of WORDS tokens that stand before one and the same token at least TRAIN times in the training part and
at least HELD_OUT times in the held-out part, all of them words. Of the CANDIDATES most frequent ones the target's mean
probability of that token is measured at a few held-out places that a seed draws; those with the highest are taken, a
token answering at most SAME_ANSWER of them.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable

from workers.spd.comparison.facts import Fact, Question
from workers.spd.comparison.subject import askings
from workers.spd.corpora.corpus import Corpus, CorpusSplit
from workers.spd.targets.target import Target
from workers.spd.targets.tokenizer import PromptTokenizer

WORDS, TRAIN, HELD_OUT, COUNT = 2, 6, 3, 50
CONTEXT = 24
ASKED = 4
CANDIDATES = 300
SAME_ANSWER = 2
Place = tuple[int, int]


def phrases_of(
    corpus: Corpus,
    target: Target,
    tokenizer: PromptTokenizer,
    seed: int,
    check_stop: Callable[[], None] = lambda: None,
) -> list[Fact]:
    """COUNT phrases at most, the best predicted first; a token answers at most SAME_ANSWER of them."""
    chooser = random.Random(seed)
    texts = {split: _ids(corpus, tokenizer, split) for split in ("train", "held_out")}
    places = {split: _places(ids) for split, ids in texts.items()}
    train, held_out = places["train"], places["held_out"]
    usable = [
        key
        for key, own in held_out.items()
        if len(own) >= HELD_OUT and len(train.get(key, ())) >= TRAIN and _is_word(tokenizer, key)
    ]
    usable.sort(key=lambda key: (-len(held_out[key]), key))
    scored: list[tuple[float, tuple[int, ...], list[Question]]] = []
    for key in usable[:CANDIDATES]:
        check_stop()
        drawn = chooser.sample(held_out[key], min(ASKED, len(held_out[key])))
        questions = [_question(texts["held_out"], place, key, tokenizer) for place in drawn]
        before = [p for _, part in askings(target, 0, questions) for p in part.before.exp().tolist()]
        scored.append((sum(before) / len(before), key, questions))
    scored.sort(key=lambda row: (-row[0], row[1]))
    facts: list[Fact] = []
    answers: Counter[int] = Counter()
    taken: set[tuple[int, ...]] = set()
    for _, key, questions in scored:
        if len(facts) == COUNT:
            break
        if answers[key[-1]] == SAME_ANSWER or key[:-1] in taken:
            continue
        answers[key[-1]] += 1
        taken.add(key[:-1])
        drawn = chooser.sample(train[key], min(ASKED, len(train[key])))
        asked = tuple(_question(texts["train"], place, key, tokenizer) for place in drawn)
        elsewhere = _elsewhere(texts["held_out"], key, tokenizer, chooser)
        facts.append(
            Fact(
                _name(tokenizer, key), tokenizer.piece(key[-1]), "phrase", asked, tuple(questions),
                elsewhere=elsewhere,
            )
        )  # fmt: skip
    return facts


def _ids(corpus: Corpus, tokenizer: PromptTokenizer, split: CorpusSplit) -> list[list[int]]:
    return [tokenizer.encode(part, bos=False) for part in corpus.parts(split)]


def _places(texts: list[list[int]]) -> dict[tuple[int, ...], list[Place]]:
    """Where each run of WORDS tokens and the next one stand, with room before them."""
    found: dict[tuple[int, ...], list[Place]] = defaultdict(list)
    for number, ids in enumerate(texts):
        for at in range(CONTEXT, len(ids)):
            found[tuple(ids[at - WORDS : at + 1])].append((number, at))
    return found


def _is_word(tokenizer: PromptTokenizer, key: tuple[int, ...]) -> bool:
    """Whether the phrase and its answer are different tokens that each begin a word, of letters alone."""
    pieces = [tokenizer.piece(token) for token in key]
    begin = all(piece.startswith(" ") and piece.strip().isalpha() for piece in pieces)
    return begin and len(set(key)) == len(key)


def _question(
    texts: list[list[int]], place: Place, key: tuple[int, ...], tokenizer: PromptTokenizer
) -> Question:
    """The CONTEXT tokens that end with the phrase, asked for what follows."""
    text, at = place
    ids = tuple(texts[text][at - CONTEXT : at])
    return Question(ids, key[-1], tuple(range(CONTEXT - WORDS, CONTEXT)), tokenizer.text(ids))


def _elsewhere(
    texts: list[list[int]], key: tuple[int, ...], tokenizer: PromptTokenizer, chooser: random.Random
) -> tuple[Question, ...]:
    """The phrase's last token after other tokens, before something else."""
    last, phrase = key[-2], key[:-1]
    places = [
        (number, at)
        for number, ids in enumerate(texts)
        for at in range(CONTEXT, len(ids))
        if ids[at - 1] == last and tuple(ids[at - WORDS : at]) != phrase and ids[at] != key[-1]
    ]
    drawn = chooser.sample(places, min(ASKED, len(places)))
    asked = []
    for text, at in drawn:
        ids = tuple(texts[text][at - CONTEXT : at])
        asked.append(Question(ids, None, (CONTEXT - 1,), tokenizer.text(ids)))
    return tuple(asked)


def _name(tokenizer: PromptTokenizer, key: tuple[int, ...]) -> str:
    return tokenizer.text(key[:-1]).strip()
