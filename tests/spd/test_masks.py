"""SPEC 1, 2, 3: the masked forward pass against a naive dense reference, and against edited models."""

import threading

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from tests.spd import tiny
from workers.spd.method.mask_sources import site_mask
from workers.spd.targets.masks import (
    SiteMask,
    attach,
    inner_activation,
    masked,
    of_shape,
    recorded,
    scale_of,
    site_weight,
)

C, D_IN, D_OUT = 5, 6, 4


def linear(bias: bool) -> nn.Module:
    return nn.Linear(D_IN, D_OUT, bias=bias)


def conv1d() -> nn.Module:
    module = Conv1D(D_OUT, D_IN)
    nn.init.normal_(module.bias)
    return module


MODULES = {
    "linear with bias": lambda: linear(True),
    "linear without bias": lambda: linear(False),
    "conv1d": conv1d,
    "embedding": lambda: nn.Embedding(D_IN, D_OUT),
}


def wrapped(kind: str) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """A module as the only site of a model, its input, and that input as vectors (one-hot for token ids)."""
    torch.manual_seed(0)
    module = MODULES[kind]()
    model = nn.Sequential(module)
    attach(model, ["0"])
    if isinstance(module, nn.Embedding):
        x = torch.randint(0, D_IN, (2, 3))
        return model, x, nn.functional.one_hot(x, D_IN).float()
    x = torch.randn(2, 3, D_IN)
    return model, x, x


@pytest.mark.parametrize("kind", MODULES)
def test_a_masked_site_computes_the_formula_with_a_dense_remainder(kind):
    model, x, vectors = wrapped(kind)
    W, bias = site_weight(model[0]), getattr(model[0], "bias", None)
    V, U = torch.randn(D_IN, C), torch.randn(C, D_OUT)
    m, delta = torch.rand(2, 3, C), torch.rand(2, 3, 1)
    remainder = W - (V @ U).T
    expected = ((vectors @ V) * m) @ U + delta * (vectors @ remainder.T)
    if bias is not None:
        expected = expected + bias
    with masked({"0": site_mask(V, U, m, delta)}):
        torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", MODULES)
def test_everything_on_is_the_module_whatever_the_components_are(kind):
    model, x, _ = wrapped(kind)
    V, U = torch.randn(D_IN, C), torch.randn(C, D_OUT)
    with masked({"0": site_mask(V, U, torch.ones(2, 3, C), torch.ones(2, 3, 1))}):
        torch.testing.assert_close(model(x), nn.Sequential.forward(model, x))
    ours = model(x)
    with masked({"0": site_mask(V, U, torch.ones(2, 3, C), torch.ones(2, 3, 1))}):
        torch.testing.assert_close(model(x), ours, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", MODULES)
def test_everything_off_leaves_the_bias_alone(kind):
    model, x, _ = wrapped(kind)
    V, U = torch.randn(D_IN, C), torch.randn(C, D_OUT)
    bias = getattr(model[0], "bias", None)
    expected = torch.zeros(2, 3, D_OUT) if bias is None else bias.expand(2, 3, D_OUT)
    with masked({"0": site_mask(V, U, torch.zeros(2, 3, C), torch.zeros(2, 3, 1))}):
        torch.testing.assert_close(model(x), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", MODULES)
def test_gradients_reach_components_and_masks_as_through_the_dense_formula(kind):
    model, x, vectors = wrapped(kind)
    model.requires_grad_(False)
    W, bias = site_weight(model[0]), getattr(model[0], "bias", None)
    given = [torch.randn(D_IN, C), torch.randn(C, D_OUT), torch.rand(2, 3, C), torch.rand(2, 3, 1)]
    weigh = torch.randn(2, 3, D_OUT)

    def gradients(through_hook: bool) -> tuple[torch.Tensor, ...]:
        V, U, m, delta = leaves = [t.clone().requires_grad_() for t in given]
        if through_hook:
            with masked({"0": site_mask(V, U, m, delta)}):
                out = model(x)
        else:
            out = ((vectors @ V) * m) @ U + delta * (vectors @ (W - (V @ U).T).T)
            out = out if bias is None else out + bias
        return torch.autograd.grad((out * weigh).sum(), leaves)

    for ours, dense in zip(gradients(True), gradients(False), strict=True):
        torch.testing.assert_close(ours, dense, rtol=1e-4, atol=1e-5)


def test_an_embedding_reads_rows_of_v_as_a_one_hot_vector_would():
    V = torch.randn(D_IN, C)
    ids = torch.tensor([[0, 3, 5]])
    assert torch.equal(inner_activation(ids, V), nn.functional.one_hot(ids, D_IN).float() @ V)


@pytest.mark.parametrize("module", [nn.LayerNorm(4), nn.Conv2d(1, 1, 1), nn.Sequential()])
def test_what_cannot_be_decomposed_is_refused_by_name(module):
    with pytest.raises(
        TypeError, match=f"{type(module).__name__} cannot be decomposed; Linear, Conv1D and Emb"
    ):
        attach(nn.Sequential(module), ["0"])


# --- whole models ---------------------------------------------------------------------------------------------------

KINDS = ["llama", "gpt2", "induction"]


@pytest.mark.parametrize("kind", KINDS)
def test_attaching_changes_nothing_bit_for_bit(kind):
    plain = tiny.target_of(tiny.MODELS[kind]())
    before = plain.logits(tiny.tokens())
    plain.attach(list(tiny.SITES[kind]))
    plain.attach(list(tiny.SITES[kind]))
    assert torch.equal(plain.logits(tiny.tokens()), before)
    with masked({}):
        assert torch.equal(plain.logits(tiny.tokens()), before)


@pytest.mark.parametrize("kind", KINDS)
def test_everything_on_through_random_components_is_the_target(kind):
    target = tiny.tiny_target(kind)
    decomposition = tiny.decomposition_of(target, tiny.SITES[kind])
    ids = tiny.tokens()
    before = torch.log_softmax(target.logits(ids).double(), -1)
    ones = {site: torch.ones(3, 6, 5) for site in decomposition.sites}
    with masked(decomposition.site_masks(ones, {s: m[..., :1] for s, m in ones.items()})), torch.no_grad():
        after = torch.log_softmax(target.logits(ids).double(), -1)
    assert (before.exp() * (before - after)).sum(-1).abs().max() < 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_unreplaced_positions_of_a_site_equal_the_target_bit_for_bit(kind):
    target = tiny.tiny_target(kind)
    decomposition = tiny.decomposition_of(target, tiny.SITES[kind])
    ids = tiny.tokens()
    zeros = {site: torch.zeros(3, 6, 5) for site in decomposition.sites}
    replaced = torch.zeros(3, 6, 1, dtype=torch.bool)
    replaced[1, 3:] = True  # later positions of one prompt only
    plan = decomposition.site_masks(
        zeros, {s: m[..., :1] for s, m in zeros.items()}, dict.fromkeys(decomposition.sites, replaced)
    )
    before = target.logits(ids)
    with masked(plan), torch.no_grad():
        after = target.logits(ids)
    torch.testing.assert_close(after[[0, 2]], before[[0, 2]], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(after[1, :3], before[1, :3], rtol=1e-5, atol=1e-5)
    assert (after[1, 3:] - before[1, 3:]).abs().max() > 1e-2


@pytest.mark.parametrize("kind", KINDS)
def test_one_site_replaced_equals_a_layerwise_edit_of_its_weight(kind):
    for site in tiny.SITES[kind]:
        target = tiny.tiny_target(kind)
        decomposition = tiny.decomposition_of(target, (site,))
        V, U = decomposition.components.V[site].detach(), decomposition.components.U[site].detach()
        m = torch.tensor([0.0, 0.3, 0.5, 1.0, 0.9])
        edited = tiny.target_of(tiny.MODELS[kind]())
        W = edited.weight(site)
        change = 0.25 * (W - (V @ U).T) + ((V * m) @ U).T - W
        tiny.edited_weight(edited.model.get_submodule(site), change)
        ids = tiny.tokens()
        plan = decomposition.site_masks({site: m.expand(3, 6, 5)}, {site: torch.full((3, 6, 1), 0.25)})
        with masked(plan), torch.no_grad():
            torch.testing.assert_close(target.logits(ids), edited.logits(ids), rtol=1e-3, atol=1e-4)


def test_the_first_position_stays_the_targets_when_it_is_unmasked():
    target = tiny.tiny_target("llama")
    decomposition = tiny.decomposition_of(target, tiny.LLAMA_SITES, first_unmasked=True)
    ids = tiny.tokens()
    zeros = {site: torch.zeros(3, 6, 5) for site in decomposition.sites}
    with masked(decomposition.site_masks(zeros, {s: m[..., :1] for s, m in zeros.items()})), torch.no_grad():
        after = target.logits(ids)
    before = target.logits(ids)
    torch.testing.assert_close(after[:, 0], before[:, 0], rtol=1e-5, atol=1e-5)
    assert (after[:, 1:] - before[:, 1:]).abs().max() > 1e-2
    with recorded() as inputs, torch.no_grad():
        target.logits(ids)
    g = decomposition.importances(inputs).g
    assert all((value[:, 0] == 0).all() and (value[:, 1:] != 0).any() for value in g.values())


@pytest.mark.parametrize("kind", KINDS)
def test_recording_notes_what_every_site_reads(kind):
    target = tiny.tiny_target(kind)
    with recorded() as inputs, torch.no_grad():
        target.logits(tiny.tokens())
    assert list(inputs) == list(tiny.SITES[kind])
    for site, x in inputs.items():
        d_in = target.weight(site).shape[1]
        assert x.shape == ((3, 6) if not x.is_floating_point() else (3, 6, d_in))


def test_threads_with_different_masks_each_get_their_own_answer():
    """Would fail at once if masks were kept on the module: 4 threads, 40 passes each, all different."""
    target = tiny.tiny_target("llama")
    site = "model.layers.0.mlp.down_proj"
    V, U = torch.randn(24, 1), torch.randn(1, 16)
    ids = tiny.tokens()
    barrier = threading.Barrier(4)

    @torch.no_grad()
    def answer(strength: float) -> torch.Tensor:
        with masked({site: SiteMask(V, U, torch.tensor([-strength]))}):
            return target.logits(ids)

    alone = {strength: answer(strength) for strength in (0.0, 0.5, 1.0, 2.0)}
    wrong: list[float] = []

    def work(strength: float) -> None:
        barrier.wait()
        for _ in range(40):
            if not torch.equal(answer(strength), alone[strength]):
                wrong.append(strength)

    threads = [threading.Thread(target=work, args=(strength,)) for strength in alone]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    with torch.no_grad():
        assert torch.equal(target.logits(ids), alone[0.0])


def test_a_plan_ends_with_its_block_even_after_an_error():
    target = tiny.tiny_target("llama")
    before = target.logits(tiny.tokens())
    plan = {"model.layers.0.mlp.down_proj": SiteMask(torch.randn(24, 1), torch.randn(1, 16), torch.ones(1))}
    with pytest.raises(RuntimeError), masked(plan):
        raise RuntimeError
    assert torch.equal(target.logits(tiny.tokens()), before)


# --- modules that are not plain -----------------------------------------------------------------------------------


class Scaled(nn.Embedding):
    def forward(self, input):
        return super().forward(input) * 3.5


class ScaledLinear(nn.Linear):
    def forward(self, input):
        return (input @ self.weight.T) * -2.0 + self.bias


class Normed(nn.Embedding):
    def forward(self, input):
        return nn.functional.normalize(super().forward(input), dim=-1)


class Clipped(nn.Linear):
    def forward(self, input):
        return super().forward(input).clamp(-0.5, 0.5)


class Spelled(nn.Linear):
    def forward(self, input):
        return input @ self.weight.T + self.bias


@pytest.mark.parametrize(
    ("module", "scale"), [(Scaled(D_IN, D_OUT), 3.5), (ScaledLinear(D_IN, D_OUT), -2.0), (Spelled(D_IN, D_OUT), 1.0)]
)  # fmt: skip
def test_a_module_that_scales_what_it_computes_is_masked_by_that_scale(module, scale):
    model = nn.Sequential(module)
    attach(model, ["0"])
    assert scale_of(module) == pytest.approx(scale, rel=1e-6)
    V, U, delta = torch.randn(D_IN, C), torch.randn(C, D_OUT), torch.rand(2, 3, 1)
    m, x = torch.rand(2, 3, C), torch.randn(2, 3, D_IN)
    if isinstance(module, nn.Embedding):
        x = torch.randint(0, D_IN, (2, 3))
    vectors = x if x.is_floating_point() else nn.functional.one_hot(x, D_IN).float()
    remainder = site_weight(module) - (V @ U).T
    expected = scale * (((vectors @ V) * m) @ U + delta * (vectors @ remainder.T))
    if getattr(module, "bias", None) is not None:
        expected = expected + module.bias
    with masked({"0": site_mask(V, U, m, delta)}):
        torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "module", [Normed(D_IN, D_OUT), Clipped(D_IN, D_OUT), nn.Embedding(6, 4, max_norm=1.0)]
)
def test_a_module_that_computes_something_else_is_refused(module):
    with pytest.raises(TypeError, match=r"something else than its weight|changes its rows"):
        attach(nn.Sequential(module), ["0"])


def test_a_flattened_input_has_a_row_a_prompt_and_a_position():
    """OPT's first MLP matrix reads [batch · seq, d_in]; masks and recordings are [batch, seq, …] all the same."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(D_IN, D_OUT))
    attach(model, ["0"])
    x, m, delta = torch.randn(2, 3, D_IN), torch.rand(2, 3, C), torch.rand(2, 3, 1)
    V, U = torch.randn(D_IN, C), torch.randn(C, D_OUT)
    with masked({"0": site_mask(V, U, m, delta)}), recorded() as read:
        expected = model(x)
        with of_shape(torch.zeros(2, 3, dtype=torch.long)):
            found = model(x.flatten(0, 1))
    torch.testing.assert_close(found, expected.flatten(0, 1))
    torch.testing.assert_close(read["0"], x)
