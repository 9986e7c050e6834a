"""One identity of a component, and how a site is shown."""

import pytest

from workers.spd.keys import ComponentKey, layer_of, short_name


def test_a_key_reads_back_as_it_is_written():
    key = ComponentKey("model.layers.0.mlp.down_proj", 3)
    assert str(key) == "model.layers.0.mlp.down_proj:3"
    assert ComponentKey.parse(str(key)) == key


@pytest.mark.parametrize("text", ["", ":3", "a:", "a:b", "a:-1", "a b:1", "../x:1", "a:12345678", "a:1\n"])
def test_what_is_not_a_key_is_told_in_a_sentence(text):
    with pytest.raises(ValueError, match="is not a component key; a key looks like"):
        ComponentKey.parse(text)


@pytest.mark.parametrize(
    ("site", "layer", "short"),
    [
        ("model.layers.0.mlp.down_proj", 0, "L0 mlp.down"),
        ("model.layers.12.self_attn.q_proj", 12, "L12 attn.q"),
        ("transformer.h.3.attn.c_attn", 3, "L3 attn.c_attn"),
        ("layers.1.attn.o", 1, "L1 attn.o"),
        ("model.embed_tokens", None, "embed_tokens"),
        ("transformer.wte", None, "wte"),
        ("lm_head", None, "lm_head"),
    ],
)
def test_a_site_has_a_layer_and_a_short_name(site, layer, short):
    assert layer_of(site) == layer
    assert short_name(site) == short
