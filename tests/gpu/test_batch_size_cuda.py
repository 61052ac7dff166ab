"""On a CUDA device: certified maxima of the whole device and of a part of its memory."""

import json

import pytest
import torch

from scripts import find_batch_size
from scripts.lib.batch_size.result import BatchSizeResult
from scripts.lib.results.reading import read_result
from tests.conftest import training_run

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

# A Llama of about 1.2 billion weights.
MODEL = {
    "model_size": "llama_1b", "d_model": 2048, "d_ff": 5632, "num_layers": 22, "num_heads": 16,
    "vocab": 10_000, "precision": "bf16", "mode": "forward", "batch_size": "auto", "device": "cuda",
}  # fmt: skip


@pytest.fixture(scope="module")
def tokens_10k(tmp_path_factory):
    from scripts.lib.kinds.training.tokens import write_embedded_tokens

    path = tmp_path_factory.mktemp("tokens") / "tokens.npy"
    write_embedded_tokens(path, MODEL["vocab"])
    return path


def share_mib(share):
    return share * torch.cuda.get_device_properties(0).total_memory / 2**20


@pytest.mark.parametrize("context_length", [512, 1024, 2048])
@pytest.mark.parametrize("share", [0.1, None])
def test_maxima_are_certified(tmp_path, tokens_10k, context_length, share):
    budget = {"memory_budget_mib": share_mib(share)} if share else {}
    search = {"upper_limit": 4096, "workload": "generate", "max_new_tokens": 32}
    settings = training_run(
        **MODEL, **budget, context_length=context_length, batch_size_search=search
    ).model_dump()
    run, output = tmp_path / "run.json", tmp_path / "batch_size.json"
    run.write_text(json.dumps({"run": "llama_1b-00000000", "settings": settings}))
    arguments = ["--run", str(run), "--data", str(tokens_10k), "--output", str(output)]
    assert find_batch_size.main(arguments) == 0
    found = read_result(output, BatchSizeResult)
    assert (found.status, found.certified) == ("ok", True)
    assert found.budget_method == ("cuda_fraction" if share else "cuda")
    outcomes = {probe.batch_size: probe for probe in found.probes}
    assert outcomes[found.batch_size].peak_memory_mib <= found.budget_mib
    assert found.batch_size == 4096 or outcomes[found.batch_size + 1].outcome == "oom"
