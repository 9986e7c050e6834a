"""What a run says it will hold, before its first step: what can be counted by hand, and that nothing else moves."""

from __future__ import annotations

import torch

from tests.spd import tiny
from workers.spd.method.training import Trainer
from workers.spd.prompts.batches import clean_batch
from workers.spd.run.sizes import BUFFERS, TRAINED, sizes


def test_weights_parameters_and_batches_are_counted_and_a_step_grows_with_its_rows():
    target = tiny.tiny_target("llama")
    config = tiny.run_config(sites=list(tiny.LLAMA_SITES))
    ids = torch.randint(0, tiny.VOCABULARY, (8, 6), generator=torch.Generator().manual_seed(0)).tolist()
    batch = clean_batch(target, ids, "all")
    trainer = Trainer(config, target, list(tiny.LLAMA_SITES), batch)
    before = trainer.generator.get_state()
    found = sizes(trainer, batch)
    assert torch.equal(trainer.generator.get_state(), before)
    assert trainer.step == 0
    parameters = [*trainer.components.parameters(), *trainer.ci.parameters()]
    assert found.trained == TRAINED * sum(p.numel() for p in parameters)
    assert found.target >= 4 * sum(p.numel() for p in target.model.parameters())
    assert found.batch >= 4 * batch.log_probs.numel()
    half = sizes(trainer, batch.rows(torch.arange(4)))
    assert 1.7 < (found.step - BUFFERS) / (half.step - BUFFERS) < 2.1
    assert "in all." in str(found)
