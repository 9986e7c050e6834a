"""A tiny Llama of one's own, in a folder as `transformers` saves it, that knows six facts."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

FACTS = {
    "Tiger Woods plays professional": " golf",
    "Jack Nicklaus plays professional": " golf",
    "Kobe Bryant plays professional": " basketball",
    "Michael Jordan plays professional": " basketball",
    "Roger Federer plays professional": " tennis",
    "Serena Williams plays professional": " tennis",
}


def save_local_llama(folder: Path, steps: int = 150) -> Path:
    """Train it on the facts until it knows them, and save it."""
    texts = [prompt + answer for prompt, answer in FACTS.items()]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(texts * 5, trainer)
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=tokenizer.get_vocab_size(), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=4, max_position_embeddings=64, bos_token_id=None, eos_token_id=None,
        )
    )  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    rows = [tokenizer.encode(text).ids for text in texts]
    for _ in range(steps):
        loss = torch.stack(
            [model(input_ids=torch.tensor([row]), labels=torch.tensor([row])).loss for row in rows]
        ).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.save_pretrained(folder, safe_serialization=True)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# A tiny Llama\n", encoding="utf-8")
    return folder
