"""Sweeps, regimes, attention patterns and continuations: each against the plainest way to compute it."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.spd import naive, tiny
from workers.spd.ablation.attention import PatternsError, patterns
from workers.spd.ablation.continuation import continuations
from workers.spd.ablation.engine import AblationEngine
from workers.spd.ablation.regimes import RegimeRun
from workers.spd.ablation.sweeps import sweep
from workers.spd.queries import AblationQuery, Condition, Edit, RegimeSpec, SweepQuery, along, each_alone
from workers.spd.targets.masks import recorded

KINDS = ["gpt2", "llama", "induction"]
IDS = [3, 1, 4, 1, 5, 9, 2, 6]
QUERY = AblationQuery(tuple(IDS), top_k=3)


@cache
def engine(kind: str, first_unmasked: bool = False) -> AblationEngine:
    target = tiny.tiny_target(kind)
    return AblationEngine(tiny.decomposition_of(target, tiny.SITES[kind], first_unmasked=first_unmasked))


def basket(kind: str) -> Condition:
    first, *_, last = tiny.SITES[kind]
    return Condition((Edit(first, 0), Edit(last, 2, 0.5), Edit(last, 1, 1.0, (3, 6))))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("position", [None, 4])
def test_a_row_of_a_sweep_is_that_ablation_alone(kind, position):
    made = engine(kind)
    edits = tuple(Edit(site, index) for site in tiny.SITES[kind] for index in range(5))
    steps = (*each_alone(edits), *along(basket(kind), (0.0, 0.3, 1.0)))
    batches = list(sweep(made, SweepQuery(tuple(IDS), steps, position, (7,), (7, 2), 5)))
    rows = {item.number: item for batch in batches for item in batch.items}
    assert sorted(rows) == list(range(len(steps)))
    at = len(IDS) - 1 if position is None else position
    for number, step in enumerate(steps):
        found = tiny.ablate(made, IDS, step.condition.edits, watch=[7, 2, 5], positions=[at]).positions[0]
        row = rows[number]
        assert (row.key, row.strength) == (step.key, step.strength)
        assert row.kl == pytest.approx(found.kl, rel=1e-3, abs=1e-6)
        seven, two, _ = found.watched
        assert row.watched[0].probability == pytest.approx(seven.ablated.probability, rel=1e-4)
        change = (seven.ablated.logit - two.ablated.logit) - (seven.baseline.logit - two.baseline.logit)
        assert row.contrast == pytest.approx(change, abs=1e-4)


@st.composite
def selections(draw, kind: str, seq: int) -> tuple[Edit, ...] | None:
    if draw(st.booleans()):
        return None
    keys = st.lists(st.tuples(st.sampled_from(tiny.SITES[kind]), st.integers(0, 4)), max_size=5, unique=True)
    strength = st.one_of(st.just(1.0), st.floats(0, 1, width=32))
    return tuple(
        Edit(site, index, draw(strength), start=draw(st.one_of(st.none(), st.integers(0, seq - 1))))
        for site, index in draw(keys)
    )


@pytest.mark.parametrize("first_unmasked", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@settings(
    max_examples=20, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
def test_a_regime_is_the_model_with_those_masks_in_its_weights(kind, first_unmasked, data):
    made = engine(kind, first_unmasked)
    ids = data.draw(st.lists(st.integers(0, tiny.VOCABULARY - 1), min_size=2, max_size=10))
    regime = data.draw(st.sampled_from(["ci", "rounded", "stochastic", "adversarial"]))
    threshold, seed = data.draw(st.sampled_from([0.0, 0.3, 0.5])), data.draw(st.integers(0, 99))
    selection = data.draw(selections(kind, len(ids)))
    query = AblationQuery(tuple(ids), top_k=3, watch=(7,))
    run = RegimeRun(made, query, RegimeSpec(regime, selection, threshold, samples=2, steps=2, seed=seed))
    seen: list[dict] = []
    real = run.masks
    run.masks = lambda sources: seen.append(sources and sources[0]) or real(sources)  # type: ignore[method-assign]
    samples = [rows for rows in run.steps() if rows is not None][-1]
    floors = _floors(made, ids, selection)
    expected = []
    for sources in seen:
        masks = {}
        for site, floor in floors.items():
            if sources is None:
                m = (floor > threshold).to(floor) if regime == "rounded" else floor.clone()
                d = torch.zeros(len(ids), 1)
            else:
                r = sources[site].detach()
                m, d = floor + (1 - floor) * r[:, :-1], r[:, -1:].clone()
            if first_unmasked:
                m[0], d[0] = 1, 1
            masks[site] = (m, d)
        expected.append(naive.edited_logits(made.decomposition, ids, masks))
    if regime == "adversarial":
        worst = max(expected, key=lambda logits: _mean_kl(made.clean(ids).logits, logits))
        naive.close(samples[0], worst)
    else:
        for found, wanted in zip(samples, expected, strict=True):
            naive.close(found, wanted)
    result = run.outcome(samples)
    for row, kl in enumerate(result.kl):
        nats = [float(_kl(made.clean(ids).logits, wanted)[row]) for wanted in expected]
        if regime != "adversarial":
            assert kl == pytest.approx(sum(nats) / len(nats), rel=1e-3, abs=1e-5)
        assert result.low[row] <= result.high[row]


def _floors(
    made: AblationEngine, ids: list[int], selection: tuple[Edit, ...] | None
) -> dict[str, torch.Tensor]:
    """ℓ of each site, [seq, C]: the causal importances of the prompt, or the strengths of the selection."""
    if selection is None:
        with torch.no_grad():
            _, inputs = _inputs(made, ids)
            return {site: g[0] for site, g in made.decomposition.importances(inputs).g.items()}
    first = 1 if made.decomposition.first_unmasked else 0
    floors = {site: torch.zeros(len(ids), 5) for site in made.decomposition.sites}
    for edit in selection:
        floors[edit.site][max(first, edit.start or 0) :, edit.index] = edit.strength
    return floors


def _inputs(made: AblationEngine, ids: list[int]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    with recorded() as read:
        logits = made.target.logits(torch.tensor([ids]))
    return logits, dict(read)


def _kl(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    p, q = before.double().log_softmax(-1), after.double().log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1)


def _mean_kl(before: torch.Tensor, after: torch.Tensor) -> float:
    return float(_kl(before, after).mean())


def test_a_regime_repeats_under_its_seed_and_differs_under_another():
    def kl(seed: int) -> list[float]:
        run = RegimeRun(engine("llama"), QUERY, RegimeSpec("stochastic", samples=2, seed=seed))
        return run.outcome([r for r in run.steps() if r is not None][-1]).kl

    assert kl(1) == kl(1)
    assert kl(1) != kl(2)


def test_the_adversary_does_at_least_as_badly_as_where_it_started():
    made = engine("gpt2")
    start = RegimeRun(made, QUERY, RegimeSpec("adversarial", steps=0))
    far = RegimeRun(made, QUERY, RegimeSpec("adversarial", steps=5))
    both = [sum(run.outcome([r for r in run.steps() if r is not None][-1]).kl) for run in (start, far)]
    assert both[1] > both[0]


def test_what_is_selected_is_out_of_the_adversarys_reach():
    selection = tuple(Edit(site, i) for site in tiny.SITES["llama"] for i in range(5))
    run = RegimeRun(engine("llama"), QUERY, RegimeSpec("adversarial", selection=selection))
    assert all((floor == 1).all() for floor in run.floor.values())


@pytest.mark.parametrize("kind", KINDS)
def test_a_continuation_is_the_ablated_model_run_again_on_every_longer_prompt(kind):
    made = engine(kind)
    for condition in (Condition(), basket(kind), Condition(basket(kind).edits, "keep_only")):
        found = continuations(made, tuple(IDS[:4]), _before(condition, 4), 5)
        ids = IDS[:4]
        for token in (row.id for row in found.ablated):
            masks = naive.masks_of(made.decomposition, _before(condition, 4), len(ids))
            logits = naive.edited_logits(made.decomposition, ids, masks)[-1]
            assert float(logits.max() - logits[token]) < 1e-4
            ids = [*ids, token]
        if not condition.edits and condition.mode == "suppress":
            assert [row.id for row in found.baseline] == [row.id for row in found.ablated]
            before, after = ([row.probability for row in rows] for rows in (found.baseline, found.ablated))
            assert before == pytest.approx(after, rel=1e-5)


def _before(condition: Condition, seq: int) -> Condition:
    return Condition(
        tuple(e for e in condition.edits if e.positions is None or max(e.positions) < seq), condition.mode
    )


def square(rows: list[list[float]]) -> torch.Tensor:
    """Rows that hold keys 0 … q as [query, key], 0 behind them."""
    return torch.tensor([row + [0.0] * (len(rows) - len(row)) for row in rows])


@pytest.mark.parametrize("kind", KINDS)
def test_attention_patterns_are_causal_and_move_only_under_an_ablation(kind):
    made = engine(kind)
    same = patterns(made, tuple(IDS), Condition(), [(0, 0), (1, 0)])
    moved = patterns(made, tuple(IDS), Condition((Edit(tiny.SITES[kind][0], 0),)), [(0, 0), (1, 0)])
    for head in [*same, *moved]:
        for rows in (head.baseline, head.ablated):
            assert [len(row) for row in rows] == list(range(1, len(IDS) + 1))
            assert [sum(row) for row in rows] == pytest.approx([1.0] * len(IDS), abs=1e-5)
    for head in same:
        torch.testing.assert_close(square(head.baseline), square(head.ablated), rtol=0, atol=2e-6)
    assert any((square(head.baseline) - square(head.ablated)).abs().max() > 1e-4 for head in moved)
    with pytest.raises(PatternsError, match="There is no layer 7"):
        patterns(made, tuple(IDS), Condition(), [(7, 0)])


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_attention_patterns_are_those_of_eager_attention(kind):
    made = engine(kind)
    eager = tiny.MODELS[kind]()
    eager.set_attn_implementation("eager")
    with torch.no_grad():
        wanted = eager(torch.tensor([IDS]), output_attentions=True).attentions
    for head in patterns(made, tuple(IDS), Condition(), [(0, 1), (1, 0)]):
        pattern = square(head.baseline)
        torch.testing.assert_close(pattern, wanted[head.layer][0, head.head], rtol=1e-4, atol=1e-5)


def test_an_answer_is_kept_by_content_and_says_so():
    made = AblationEngine(engine("llama").decomposition)
    edits = [Edit(tiny.SITES["llama"][1], 0)]
    first, second = tiny.ablate(made, IDS, edits), tiny.ablate(made, IDS, edits)
    assert (first.cached, second.cached) == (False, True)
    assert second.positions == first.positions
    assert not tiny.ablate(made, IDS, edits, recompute=True).cached


def test_other_tokens_and_positions_of_a_known_ablation_cost_no_pass(monkeypatch):
    made = AblationEngine(engine("llama").decomposition)
    edits, site = [Edit(tiny.SITES["llama"][1], 0)], tiny.SITES["llama"][1]
    wanted = tiny.ablate(made, IDS, edits, top_k=3, watch=[5], positions=[2])
    both = (Condition(tuple(edits)), Condition((Edit(site, 1),)))
    together = made.ablate(AblationQuery(tuple(IDS), both))
    alone = tiny.ablate(AblationEngine(made.decomposition), IDS, [Edit(site, 1)], top_k=4)
    runs = []
    real = made.passes.resumed
    monkeypatch.setattr(made.passes, "resumed", lambda *a, **k: runs.append(1) or real(*a, **k))
    again = tiny.ablate(made, IDS, edits, top_k=4, watch=[5], positions=[2])
    assert (runs, wanted.cached, again.cached) == ([], False, True)
    assert again.kl == wanted.kl == together[0].kl
    assert again.positions[0].watched == wanted.positions[0].watched
    of_two = tiny.ablate(made, IDS, [Edit(site, 1)], top_k=4)
    assert not runs
    assert of_two.kl == pytest.approx(alone.kl, rel=1e-4, abs=1e-6)
    assert [row.token_id for row in of_two.positions[-1].top] == [
        row.token_id for row in alone.positions[-1].top
    ]
    assert not tiny.ablate(made, IDS, edits, top_k=3, recompute=True).cached
    assert runs, "recomputed means a pass"
    tiny.ablate(made, IDS, edits, mode="keep_only", remainder="on")
    assert len(runs) == 2, "another mode is another pass"


def test_a_centred_logit_is_measured_from_the_mean_of_the_vocabulary():
    made = engine("llama")
    found = tiny.ablate(made, IDS, basket("llama").edits, watch=list(range(tiny.VOCABULARY)), positions=[4])
    (shift,) = found.positions
    assert shift.mean_logit is not None
    for side in ("baseline", "ablated"):
        logits = [getattr(row, side).logit for row in shift.watched]
        assert getattr(shift.mean_logit, side) == pytest.approx(sum(logits) / len(logits), abs=1e-5)
