"""The model of a data-parallel run: with random weights at a size, from a folder, or of the hub."""

from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    BertConfig,
    GPT2Config,
    PreTrainedModel,
)

from scripts.lib.kinds.ddp.config import DdpRun
from scripts.lib.schema.errors import InputError

_AUTO = {
    "sequence_classification": AutoModelForSequenceClassification,
    "causal_lm": AutoModelForCausalLM,
}


def build_model(
    run: DdpRun, vocab_size: int, num_labels: int, pad_id: int, device: torch.device, seed: int
) -> PreTrainedModel:
    """Build the model of a run in float32, in training mode; a seed gives the same weights.

    A size is a BERT with a classification head, or a GPT-2, with random weights. Raises InputError
    when a named model cannot be loaded or is too small for the run's text.
    """
    torch.manual_seed(seed)
    if run.size is not None:
        config = _configuration(run, vocab_size, num_labels, pad_id)
        model = _AUTO[run.task].from_config(config)
    else:
        model = _pretrained(run, num_labels)
        _check(run, model, vocab_size)
    if model.config.pad_token_id is None:
        model.config.pad_token_id = pad_id
    return model.to(device).train()


def _configuration(run: DdpRun, vocab_size: int, num_labels: int, pad_id: int) -> Any:
    size = run.size
    if run.task == "causal_lm":
        return GPT2Config(
            vocab_size=vocab_size, n_embd=size.d_model, n_layer=size.num_layers,
            n_head=size.num_heads, n_inner=size.d_ff, n_positions=run.max_length,
            resid_pdrop=run.dropout, embd_pdrop=run.dropout, attn_pdrop=run.dropout,
            use_cache=False, bos_token_id=None, eos_token_id=None,
        )  # fmt: skip
    return BertConfig(
        vocab_size=vocab_size, hidden_size=size.d_model, num_hidden_layers=size.num_layers,
        num_attention_heads=size.num_heads, intermediate_size=size.d_ff, pad_token_id=pad_id,
        max_position_embeddings=run.max_length, num_labels=num_labels,
        hidden_dropout_prob=run.dropout, attention_probs_dropout_prob=run.dropout,
    )  # fmt: skip


def _pretrained(run: DdpRun, num_labels: int) -> PreTrainedModel:
    options: dict[str, Any] = {
        "dtype": torch.float32,
        "trust_remote_code": run.trust_remote_code,
    }
    if run.task == "sequence_classification":
        options["num_labels"] = num_labels
    try:
        return _AUTO[run.task].from_pretrained(run.model, **options)
    except Exception as error:  # files, hub and architectures have errors of their own
        text = " ".join(str(error).split())[:300]
        raise InputError(f"model: {run.model}: cannot be loaded: {text}") from None


def _check(run: DdpRun, model: PreTrainedModel, vocab_size: int) -> None:
    entries = model.get_input_embeddings().num_embeddings
    if vocab_size > entries:
        raise InputError(
            f"tokenizer: has {vocab_size} entries, but model {run.model} only {entries}"
        )
    positions = _positions(model)
    if positions is not None and run.max_length > positions:
        raise InputError(
            f"max_length: {run.max_length} is above the {positions} positions of model {run.model}"
        )


def _positions(model: PreTrainedModel) -> int | None:
    """Tokens that a model has positions for; None where nothing limits them.

    Models like RoBERTa count positions from behind the padding's.
    """
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions is None or positions < 1:  # XLNet says -1
        return None
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None):
            return positions - module.padding_idx - 1
    return positions
