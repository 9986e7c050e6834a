"""SPEC 10: causal importance functions of every kind behind one interface."""

import pytest
import torch

from workers.spd.config import MLPCI, AttentionCI, SharedMLPCI, TransformerCI, VectorMLPCI
from workers.spd.method.ci import CIFunctions
from workers.spd.method.ci_networks import SiteAttention

SITES = {"a": (7, 4), "b": (9, 3)}  # d_in, C
KINDS = {
    "attention, scope site": AttentionCI(scope="site", d_k=5, hidden=6, max_distance=3),
    "attention, scope component": AttentionCI(scope="component", d_k=5, hidden=6, max_distance=3),
    "attention, two heads": AttentionCI(d_k=5, heads=2, hidden=6, max_distance=3),
    "shared_mlp": SharedMLPCI(hidden=6),
    "mlp": MLPCI(hidden=6),
    "vector_mlp": VectorMLPCI(hidden=6),
    "transformer": TransformerCI(d_model=8, layers=2, heads=2),
}
READS = [(name, reads) for name in KINDS for reads in ("inner", "input") if (name, reads) != ("mlp", "input")]
ATTENDING = ["attention, scope site", "attention, scope component", "attention, two heads", "transformer"]


def build(kind: str, reads: str = "inner", sites=SITES, **changes) -> CIFunctions:
    config = KINDS[kind].model_copy(update={"reads": reads, **changes})
    functions = CIFunctions(sites, config, torch.Generator().manual_seed(0))
    with torch.no_grad():  # away from the start, where everything is nearly constant
        for name, parameter in functions.named_parameters():
            if parameter.requires_grad and ("last" in name or "relative" in name):
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return functions


def data(batch: int = 2, seq: int = 5, seed: int = 3) -> tuple[dict, dict]:
    generator = torch.Generator().manual_seed(seed)
    inner = {site: torch.randn(batch, seq, C, generator=generator) * 3 for site, (_, C) in SITES.items()}
    inputs = {site: torch.randn(batch, seq, d, generator=generator) * 3 for site, (d, _) in SITES.items()}
    return inner, inputs


@pytest.mark.parametrize(("kind", "reads"), READS)
def test_activations_of_all_sites_in_and_one_gamma_a_component_out(kind, reads):
    inner, inputs = data()
    gamma = build(kind, reads)(inner, inputs)
    assert {site: tuple(value.shape) for site, value in gamma.items()} == {"a": (2, 5, 4), "b": (2, 5, 3)}


@pytest.mark.parametrize(("kind", "reads"), READS)
def test_every_gamma_starts_near_its_start_value(kind, reads):
    config = KINDS[kind].model_copy(update={"reads": reads, "start": 0.7})
    functions = CIFunctions(SITES, config, torch.Generator().manual_seed(0))
    inner, inputs = data()
    functions.set_scale(inner, inputs, torch.ones(2, 5, dtype=torch.bool))
    values = torch.cat([value.flatten() for value in functions(inner, inputs).values()])
    assert values.mean().item() == pytest.approx(0.7, abs=0.1)
    assert (values - 0.7).abs().max() < 0.5


@pytest.mark.parametrize(("kind", "reads"), READS)
def test_the_unit_of_what_is_read_does_not_matter(kind, reads):
    inner, inputs = data()
    valid = torch.ones(2, 5, dtype=torch.bool)
    one, other = build(kind, reads), build(kind, reads)
    one.set_scale(inner, inputs, valid)
    louder = ({s: x * 1000 for s, x in inner.items()}, {s: x * 1000 for s, x in inputs.items()})
    other.set_scale(*louder, valid)
    for site, value in one(inner, inputs).items():
        torch.testing.assert_close(other(*louder)[site], value, rtol=1e-4, atol=1e-4)


def test_the_scale_is_the_rms_of_the_valid_positions():
    functions = CIFunctions({"a": (2, 2)}, SharedMLPCI(), torch.Generator())
    inner = {"a": torch.tensor([[[3.0, 0.0], [4.0, 2.0], [99.0, 99.0]]])}
    functions.set_scale(inner, inner, torch.tensor([[True, True, False]]))
    assert functions.scales[0].tolist() == pytest.approx([(12.5) ** 0.5, 2**0.5])


@pytest.mark.parametrize(("kind", "reads"), READS)
def test_what_is_kept_computes_on_as_if_the_dropped_components_had_been_zero(kind, reads):
    inner, inputs = data()
    functions = build(kind, reads)
    functions.set_scale(inner, inputs, torch.ones(2, 5, dtype=torch.bool))
    kept = {"a": [0, 2], "b": [1]}
    silenced = {
        site: x * torch.tensor([float(c in kept[site]) for c in range(x.shape[-1])])
        for site, x in inner.items()
    }
    before = functions(silenced, inputs)
    functions.keep(kept)
    after = functions({site: x[..., kept[site]] for site, x in inner.items()}, inputs)
    for site, value in after.items():
        torch.testing.assert_close(value, before[site][..., kept[site]], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("kind", "reads"), [pair for pair in READS if pair[1] == "input"])
def test_dropping_components_changes_nothing_for_the_rest_where_the_input_is_read(kind, reads):
    inner, inputs = data()
    functions = build(kind, reads)
    before = functions(inner, inputs)
    functions.keep({"a": [1, 3], "b": [0, 2]})
    after = functions({"a": inner["a"][..., [1, 3]], "b": inner["b"][..., [0, 2]]}, inputs)
    torch.testing.assert_close(after["a"], before["a"][..., [1, 3]], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(after["b"], before["b"][..., [0, 2]], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_site_may_lose_all_its_components_and_be_built_that_way_again(kind):
    inner, inputs = data()
    functions = build(kind)
    functions.keep({"a": [], "b": [1]})
    some = {"a": inner["a"][..., []], "b": inner["b"][..., [1]]}
    gamma = functions(some, inputs)
    assert gamma["a"].shape == (2, 5, 0)
    again = CIFunctions({"a": (7, 0), "b": (9, 1)}, KINDS[kind], torch.Generator())
    again.load_state_dict(functions.state_dict())
    torch.testing.assert_close(again(some, inputs)["b"], gamma["b"])


@pytest.mark.parametrize("kind", ATTENDING)
def test_a_causal_function_does_not_look_ahead(kind):
    inner, inputs = data()
    functions = build(kind, causal=True)
    before = functions(inner, inputs)
    later = {site: torch.cat([x[:, :3], x[:, 3:] + 5], 1) for site, x in inner.items()}
    after = functions(later, inputs)
    for site in SITES:
        torch.testing.assert_close(after[site][:, :3], before[site][:, :3], rtol=1e-5, atol=1e-5)
        assert (after[site][:, 3:] - before[site][:, 3:]).abs().max() > 1e-3


@pytest.mark.parametrize("kind", ATTENDING)
def test_a_function_that_is_not_causal_does(kind):
    inner, inputs = data()
    functions = build(kind, causal=False)
    later = {site: torch.cat([x[:, :3], x[:, 3:] + 5], 1) for site, x in inner.items()}
    assert (functions(later, inputs)["a"][:, :3] - functions(inner, inputs)["a"][:, :3]).abs().max() > 1e-3


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ATTENDING])
def test_a_function_without_attention_sees_one_position_at_a_time(kind):
    inner, inputs = data()
    functions = build(kind)
    whole = functions(inner, inputs)["a"]
    one = [{site: x[:, 2:3] for site, x in read.items()} for read in (inner, inputs)]
    alone = functions(*one)["a"]
    torch.testing.assert_close(alone, whole[:, 2:3], rtol=1e-5, atol=1e-5)


def test_the_attention_is_the_papers_formula():
    config = AttentionCI(d_k=2, causal=True, max_distance=2)
    attention = SiteAttention(1, 3, config, torch.Generator().manual_seed(0))
    with torch.no_grad():
        attention.relative.copy_(torch.tensor([[0.3, -0.2, 0.5, 9.0, 9.0]]))
    x = torch.randn(1, 4, 3, generator=torch.Generator().manual_seed(1))
    q, k, v = (x[0] @ attention.qkv[part, 0] for part in range(3))
    r = torch.tensor([0.3, -0.2, 0.5])  # distances −2 or further, −1, 0
    expected = torch.zeros(4, 2)
    for n in range(4):
        scores = [(q[n] @ k[j] + r[2 + max(j - n, -2)]) / 2**0.5 for j in range(n + 1)]
        weights = torch.stack(scores).softmax(0)
        expected[n] = sum(weights[j] * v[j] for j in range(n + 1))
    torch.testing.assert_close(attention(x)[0, :, 0], expected, rtol=1e-5, atol=1e-5)


def near(heads: int, gain: float = 16.0) -> SiteAttention:
    config = AttentionCI(d_k=8, heads=heads, max_distance=9, relative_start="near", relative_gain=gain)
    return SiteAttention(1, 3, config, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("gain", [1.0, 16.0])
def test_near_attention_starts_with_weights_of_one_over_the_distance_and_leaves_the_position_out(gain):
    attention = near(1, gain)
    with torch.no_grad():
        attention.qkv[:2] = 0  # no content: r alone
    x = torch.randn(1, 6, 3, generator=torch.Generator().manual_seed(1))
    weights = torch.tensor([1 / distance for distance in range(5, 0, -1)])
    expected = (weights / weights.sum()) @ (x[0, :5] @ attention.qkv[2, 0])
    torch.testing.assert_close(attention(x)[0, 5, 0], expected, rtol=1e-4, atol=1e-4)


def test_every_second_near_head_starts_on_the_last_like_of_a_token_however_far():
    attention = near(2)
    tokens = torch.eye(3)[[0, 2, 1, 1, 2, 1, 1, 0]] * 12  # the last is like the first
    values = (tokens @ attention.qkv[2, 0]).unflatten(-1, (2, 8))
    likes = attention(tokens[None])[0, -1, 0].unflatten(-1, (2, 8))[1]
    torch.testing.assert_close(likes, values[0, 1], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("causal", [True, False])
def test_attention_that_does_not_see_itself_sees_only_others(causal):
    config = AttentionCI(d_k=4, causal=causal, sees_itself=False, max_distance=9)
    attention = SiteAttention(1, 3, config, torch.Generator().manual_seed(0))
    x = torch.randn(1, 5, 3, generator=torch.Generator().manual_seed(1))
    other = x.clone()
    other[0, 3] += 2
    value = attention.qkv[2, 0]
    with torch.no_grad():
        attention.qkv[:2] = 0  # the same weight on whatever is seen
        seen = attention(x)[0, :, 0]
        assert torch.equal(attention(other)[0, 3], attention(x)[0, 3])
    others = [[0], [0], [0, 1], [0, 1, 2], [0, 1, 2, 3]]  # the first has nothing else and sees itself
    if not causal:
        others = [[j for j in range(5) if j != n] for n in range(5)]
    expected = torch.stack([(x[0, places] @ value).mean(0) for places in others])
    torch.testing.assert_close(seen, expected, rtol=1e-5, atol=1e-5)


def test_heads_are_attentions_side_by_side():
    one, two = near(1), near(2)
    with torch.no_grad():
        one.qkv.copy_(two.qkv.unflatten(-1, (2, 8))[..., 1, :])
        one.relative.copy_(two.relative.unflatten(-1, (2, -1))[:, 1])
    x = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(two(x)[..., 8:], one(x))


def test_the_mlp_kind_reads_one_scalar_a_component():
    inner, _ = data()
    functions = build("mlp")
    other = {site: x.clone() for site, x in inner.items()}
    other["a"][..., 0] += 1
    before, after = functions(inner)["a"], functions(other)["a"]
    assert (before[..., 0] != after[..., 0]).all()
    assert torch.equal(before[..., 1:], after[..., 1:])


@pytest.mark.parametrize(
    ("kind", "count"),
    [
        # a: C = 4, b: C = 3; weights + biases, by hand
        ("shared_mlp", (4 * 6 + 6 + 6 * 4 + 4) + (3 * 6 + 6 + 6 * 3 + 3)),
        ("mlp", 7 * (6 + 6 + 6 + 1)),
        ("vector_mlp", 4 * (4 * 6 + 6 + 6 + 1) + 3 * (3 * 6 + 6 + 6 + 1)),
        (
            "attention, scope site",
            (3 * 4 * 5 + 7 + 9 * 6 + 6 + 6 * 4 + 4) + (3 * 3 * 5 + 7 + 8 * 6 + 6 + 6 * 3 + 3),
        ),
        (
            "attention, two heads",
            (3 * 4 * 10 + 14 + 14 * 6 + 6 + 6 * 4 + 4) + (3 * 3 * 10 + 14 + 13 * 6 + 6 + 6 * 3 + 3),
        ),
        (
            "attention, scope component",
            4 * (3 * 4 * 5 + 7 + 9 * 6 + 6 + 6 + 1) + 3 * (3 * 3 * 5 + 7 + 8 * 6 + 6 + 6 + 1),
        ),
    ],
)
def test_parameters_are_counted(kind, count):
    assert build(kind).parameter_count() == count


def test_functions_follow_their_seed():
    inner, inputs = data()
    one, same = build("attention, scope site"), build("attention, scope site")
    assert torch.equal(one(inner, inputs)["a"], same(inner, inputs)["a"])


@pytest.mark.parametrize("kind", ATTENDING)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("length", [1, 3])
def test_gamma_of_a_prompt_is_the_same_alone_and_padded_in_a_batch(kind, causal, length):
    sees_itself = kind == "transformer"
    functions = build(kind, causal=causal) if sees_itself else build(kind, causal=causal, sees_itself=False)
    inner, inputs = data()
    valid = torch.tensor([[True] * 5, [True] * length + [False] * (5 - length)])
    padded = functions(inner, inputs, valid)
    alone = functions(*({site: x[1:, :length] for site, x in part.items()} for part in (inner, inputs)))
    for site, value in alone.items():
        torch.testing.assert_close(padded[site][1:, :length], value, rtol=1e-5, atol=1e-6)
        assert torch.isfinite(padded[site]).all()


@pytest.mark.parametrize("kind", ATTENDING)
def test_without_the_validity_a_gamma_that_looks_ahead_sees_padding(kind):
    functions = build(kind, causal=False)
    inner, inputs = data()
    alone = functions(*({site: x[1:, :3] for site, x in part.items()} for part in (inner, inputs)))
    assert (functions(inner, inputs)["a"][1:, :3] - alone["a"]).abs().max() > 1e-3
