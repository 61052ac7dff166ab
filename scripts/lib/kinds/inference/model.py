"""The embedded model: a small Llama with random weights, and its tokenizer, made on the spot.

Nothing of it means anything, but it computes like any Llama, and a server streams it like one:
every token it emits is a word with a blank before it, so each one prints, and its text read by the
tokenizer gives the same tokens again.
"""

import shutil
from pathlib import Path
from typing import Any

from scripts.lib.runtime.embedded_text import embedded_text

VOCAB = 1024
CONTEXT_LENGTH = 4096
DIMENSIONS = {
    "hidden_size": 64,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
}


def write_model(folder: str | Path, seed: int = 0) -> int:
    """Write model and tokenizer to `folder`, whole or not at all; returns the parameters."""
    import torch
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    folder = Path(folder)
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    tokenizer = _tokenizer()
    torch.manual_seed(seed)
    special = {"bos_token_id": tokenizer.bos_token_id, "pad_token_id": tokenizer.pad_token_id}
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            max_position_embeddings=CONTEXT_LENGTH,
            eos_token_id=None,
            tie_word_embeddings=False,
            **special,
            **DIMENSIONS,
        )
    )
    # A row of zeros has the logit 0, and the largest of a thousand random ones is above it: only
    # words are ever chosen.
    with torch.no_grad():
        for token in range(len(tokenizer)):
            if not _is_word(tokenizer, token):
                model.lm_head.weight[token] = 0
    model.save_pretrained(part)
    tokenizer.save_pretrained(part)
    # Without an end token an answer has exactly the length that was asked for.
    GenerationConfig(eos_token_id=None, do_sample=False, **special).save_pretrained(part)
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
    return sum(parameter.numel() for parameter in model.parameters())


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(embedded_text().splitlines(keepends=True), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        model_max_length=CONTEXT_LENGTH,
    )


def _is_word(tokenizer: Any, token: int) -> bool:
    text = tokenizer.decode([token])
    word = text.startswith(" ") and text[1:].isascii() and text[1:].isalpha()
    return word and tokenizer.encode(text, add_special_tokens=False) == [token]
