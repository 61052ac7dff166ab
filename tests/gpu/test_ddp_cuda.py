"""A data-parallel run over NCCL: one rank, bf16, fitted cost, a probed batch."""

import json

import pytest

torch = pytest.importorskip("torch")

from scripts import benchmark_ddp, find_batch_size, prepare_text  # noqa: E402
from scripts.lib.config.runs import run_id  # noqa: E402
from scripts.lib.kinds.ddp.config import DdpRun  # noqa: E402
from scripts.lib.kinds.ddp.result import DdpResult  # noqa: E402
from scripts.lib.results.reading import read_result  # noqa: E402

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("precision", ["bf16_mixed", "fp16_mixed"])
def test_modes_train_over_nccl(precision, tmp_path):
    settings = {
        "model": "tiny", "size": {"d_model": 128, "d_ff": 384, "num_layers": 4, "num_heads": 4},
        "ranks": 1, "global_batch": 32, "max_length": 128, "precision": precision,
        "cost_type": "fitted", "device": "cuda", "steps": 20, "max_local_batch": "auto",
        "batch_size_search": {"upper_limit": 256},
    }  # fmt: skip
    settings = DdpRun.model_validate(settings).model_dump()
    run, text = tmp_path / "run.json", tmp_path / "text/meta.json"
    found, output = tmp_path / "batch_size.json", tmp_path / "ddp.json"
    run.write_text(json.dumps({"run": run_id(settings), "settings": settings}))
    assert prepare_text.main(["--run", str(run), "--output", str(text)]) == 0
    searched = ["--run", str(run), "--data", str(text), "--output", str(found)]
    assert find_batch_size.main(searched) == 0
    arguments = ["--run", run, "--text", text, "--batch-size", found, "--output", output]
    assert benchmark_ddp.main(list(map(str, arguments))) == 0
    result = read_result(output, DdpResult)
    assert result.status == "ok", result.reason
    assert (result.metrics.backend, result.effective.device) == ("nccl", "cuda:0")
    assert len(result.metrics.cost_coefficients) == 3
    losses = result.metrics.mode("sorted").seeds[0].loss
    assert losses[-1] < losses[0] * 1.2
