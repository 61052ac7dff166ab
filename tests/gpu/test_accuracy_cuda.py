"""An accuracy run on CUDA: a probed batch, bf16, stages that wait for the device."""

import json

import pytest

torch = pytest.importorskip("torch")

from scripts import accuracy, find_batch_size  # noqa: E402
from scripts.lib.config.runs import run_id  # noqa: E402
from scripts.lib.kinds.accuracy.config import AccuracyRun  # noqa: E402
from scripts.lib.kinds.accuracy.embedded import train  # noqa: E402
from scripts.lib.kinds.accuracy.measurement import EmbeddedVlm  # noqa: E402
from scripts.lib.kinds.accuracy.result import AccuracyResult  # noqa: E402
from scripts.lib.results.reading import read_result  # noqa: E402

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_a_point_on_cuda(precision, tmp_path):
    embedded = {"vision_steps": 60, "steps": 50, "train_batch_size": 32}
    train(EmbeddedVlm.model_validate(embedded), tmp_path / "vlm")
    settings = {
        "embedded": embedded, "max_crops": 4, "top_k": 2, "num_active_blocks": 4,
        "metric": "digit_accuracy", "num_samples": 128, "batch_size": "auto", "device": "cuda",
        "precision": precision, "batch_size_search": {"upper_limit": 64},
    }  # fmt: skip
    settings = AccuracyRun.model_validate(settings).model_dump()
    run, found = tmp_path / "run.json", tmp_path / "batch_size.json"
    run.write_text(json.dumps({"run": run_id(settings), "settings": settings}))
    checkpoint = tmp_path / "vlm/training.json"
    searched = ["--run", run, "--data", checkpoint, "--output", found]
    assert find_batch_size.main(list(map(str, searched))) == 0
    output = tmp_path / "accuracy.json"
    arguments = [
        "--run",
        run,
        "--checkpoint",
        checkpoint,
        "--batch-size",
        found,
        "--output",
        output,
    ]
    assert accuracy.main(list(map(str, arguments))) == 0
    result = read_result(output, AccuracyResult)
    assert result.status == "ok", result.reason
    assert result.effective.batch_size == 64
    assert result.metrics.actual_num_active_blocks == 4
    assert result.metrics.peak_memory_mib > 1
    for stage in ("vision", "prefill", "decode"):
        assert getattr(result.metrics, stage).p50_ms > 0
