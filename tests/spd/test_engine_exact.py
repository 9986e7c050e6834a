"""The engine against a copy of the model whose weights were really edited: random specs, every position."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.spd import naive, tiny
from workers.spd.ablation.engine import AblationEngine
from workers.spd.ablation.passes import Touch
from workers.spd.queries import AblationQuery, Condition, Edit
from workers.spd.targets import onednn

KINDS = ["gpt2", "llama", "induction"]


@cache
def engine(kind: str, first_unmasked: bool = False, fast: bool = False) -> AblationEngine:
    """`fast`: the products of large models, which small ones are too small to be given, at every module."""
    target = tiny.tiny_target(kind)
    made = AblationEngine(tiny.decomposition_of(target, tiny.SITES[kind], first_unmasked=first_unmasked))
    if fast:
        assert onednn.adopt(target.model, large=0) > 0
    return made


needs_onednn = pytest.mark.skipif(not onednn.available(), reason="this PyTorch has no oneDNN")
WAYS = [
    pytest.param(False, False, id="mkl"),
    pytest.param(True, False, id="first_unmasked"),
    pytest.param(False, True, id="onednn", marks=needs_onednn),
]


@st.composite
def prompts(draw) -> list[int]:
    return draw(st.lists(st.integers(0, tiny.VOCABULARY - 1), min_size=1, max_size=tiny.CONTEXT))


@st.composite
def conditions(draw, kind: str, seq: int) -> Condition:
    keys = st.tuples(st.sampled_from(tiny.SITES[kind]), st.integers(0, 4))
    edits = []
    for site, index in draw(st.lists(keys, max_size=6, unique=True)):
        where = draw(st.sampled_from(["all", "some", "from"]))
        positions = (
            tuple(sorted(draw(st.sets(st.integers(0, seq - 1), min_size=1)))) if where == "some" else None
        )
        start = draw(st.integers(0, seq - 1)) if where == "from" else None
        strength = draw(st.one_of(st.just(1.0), st.just(0.0), st.floats(-2, 3, width=32)))
        edits.append(Edit(site, index, strength, positions, start))
    mode = draw(st.sampled_from(["suppress", "suppress", "suppress", "keep_only"]))
    remainder = draw(st.sampled_from([None, None, "on", "off"]))
    return Condition(tuple(edits), mode, remainder)


def logits(made: AblationEngine, ids: list[int], asked: list[Condition]) -> list[torch.Tensor]:
    clean = made.clean(ids)
    first, changed = made.logits(clean, asked)
    return [torch.cat([clean.logits[:first], row]) for row in changed]


@pytest.mark.parametrize(("first_unmasked", "fast"), WAYS)
@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@settings(
    max_examples=40, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
def test_an_ablation_is_the_model_with_edited_weights(kind, first_unmasked, fast, data):
    made = engine(kind, first_unmasked, fast)
    ids = data.draw(prompts())
    asked = data.draw(st.lists(conditions(kind, len(ids)), min_size=1, max_size=3))
    for condition, found in zip(asked, logits(made, ids, asked), strict=True):
        masks = naive.masks_of(made.decomposition, condition, len(ids))
        naive.close(found, naive.edited_logits(made.decomposition, ids, masks))


@pytest.mark.parametrize("kind", KINDS)
def test_a_pass_resumed_anywhere_without_masks_is_the_clean_pass(kind):
    made = engine(kind)
    ids = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3]
    clean = made.clean(ids)
    torch.testing.assert_close(clean.logits, made.target.logits(torch.tensor([ids]))[0], rtol=0, atol=0)
    for block in range(3):
        for position in range(len(ids)):
            start = made.passes.start(clean, Touch(block, position))
            again = made.passes.resumed(clean, {}, start, batch=2)
            for row in again:
                naive.close(row, clean.logits[start.position :])


@pytest.mark.parametrize("kind", KINDS)
def test_passes_really_resume(kind):
    """A target that fell back to whole passes would be exact and slow; this notices."""
    made = engine(kind)
    clean = made.clean(list(range(12)))
    assert made.passes.resumes
    assert made.passes.start(clean, Touch(2, 0)).block == 2
    assert made.passes.start(clean, Touch(1, 6)).position == (0 if kind == "induction" else 6)
    runs: list[int] = []
    hooks = [
        block.register_forward_hook(lambda b, a, o: runs.append(b._unweave_block))
        for block in made.passes.blocks
    ]
    leaves = [
        next(m for m in block.modules() if isinstance(m, torch.nn.Linear) or hasattr(m, "nf"))
        for block in made.passes.blocks
    ]
    seen: list[int] = []
    hooks += [m.register_forward_hook(lambda *_, at=at: seen.append(at)) for at, m in enumerate(leaves)]
    made.passes.resumed(clean, {}, Touch(1, 0))
    for hook in hooks:
        hook.remove()
    assert set(seen) == {1}


@pytest.mark.parametrize("fast", [False, pytest.param(True, marks=needs_onednn)])
@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_deep_copy_of_a_target_runs_its_own_weights(kind, fast):
    made = engine(kind, fast=fast)
    model = copy.deepcopy(made.target.model)
    site = next(site for site in made.decomposition.sites if "layers" in site or ".h." in site)
    with torch.no_grad():
        model.get_submodule(site).weight.zero_()
        away = model(torch.tensor([[1, 2, 3, 4]])).logits[0]
    assert (away - made.clean([1, 2, 3, 4]).logits).abs().max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_hundreds_of_mixed_requests_from_threads_equal_those_computed_alone(kind):
    generator = torch.Generator().manual_seed(5)

    def pick(most: int) -> int:
        return int(torch.randint(0, most, (1,), generator=generator))

    specs = []
    for _ in range(40):
        ids = [pick(tiny.VOCABULARY) for _ in range(2 + pick(10))]
        edits = tuple(
            Edit(site, pick(5), (1 + pick(4)) / 4, None if pick(2) else (pick(len(ids)),))
            for site in tiny.SITES[kind]
            if pick(2)
        )
        specs.append((ids, Condition(edits, "keep_only" if pick(4) == 0 else "suppress")))
    single = AblationEngine(engine(kind).decomposition)
    alone = [
        single.ablate(AblationQuery(tuple(ids), (condition,), watch=(3,), recompute=True))[0]
        for ids, condition in specs
    ]
    shared = AblationEngine(engine(kind).decomposition)

    def ask(number: int):
        ids, condition = specs[number % len(specs)]
        if number % 7 == 0:
            shared.importances(ids)
        query = AblationQuery(tuple(ids), (condition,), watch=(3,), recompute=number % 2 == 0)
        return number % len(specs), shared.ablate(query)[0]

    with ThreadPoolExecutor(8) as pool:
        for which, found in pool.map(ask, range(400)):
            wanted = alone[which]
            assert found.kl == pytest.approx(wanted.kl, rel=1e-3, abs=1e-6)
            for a, b in zip(found.positions, wanted.positions, strict=True):
                assert a.watched[0].ablated.logit == pytest.approx(
                    b.watched[0].ablated.logit, rel=1e-4, abs=1e-4
                )
                assert {row.token_id for row in a.top} == {row.token_id for row in b.top}
