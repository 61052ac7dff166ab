"""Models from a folder are loaded as they are, and refused where they are too small."""

import pytest
import torch
import transformers as T
from ddp_ranks import ddp_run

from scripts.lib.kinds.ddp.model import build_model
from scripts.lib.schema.errors import InputError


def test_positions_that_begin_behind_the_paddings_are_fewer(tmp_path):
    """RoBERTa's first two positions belong to no token."""
    config = T.RobertaConfig(
        vocab_size=100, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=34, num_labels=3,
    )  # fmt: skip
    T.RobertaForSequenceClassification(config).save_pretrained(tmp_path)
    run = ddp_run(model=str(tmp_path), size=None, max_length=32)
    model = build_model(run, 100, 3, 1, torch.device("cpu"), 0)
    assert model(input_ids=torch.full((1, 32), 5)).logits.shape == (1, 3)
    with pytest.raises(InputError, match="max_length: 33 is above the 32 positions"):
        build_model(run.model_copy(update={"max_length": 33}), 100, 3, 1, torch.device("cpu"), 0)
    with pytest.raises(InputError, match="tokenizer: has 101 entries, but model"):
        build_model(run, 101, 3, 1, torch.device("cpu"), 0)
