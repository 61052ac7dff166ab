"""vLLM serves the embedded model on a GPU."""

import json
import shutil

import pytest

from scripts import prepare_model, serve_benchmark
from scripts.lib.devices.slots import visible_gpus
from scripts.lib.kinds.inference.frameworks import compose
from tests.unit.serving_cases import served_processes, served_run, write_run

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not visible_gpus(), reason="no CUDA device"),
    pytest.mark.skipif(shutil.which("vllm") is None, reason="vllm is not installed"),
]


def test_vllm_serves_the_length_that_was_asked_for(tmp_path):
    model = tmp_path / "model"
    assert prepare_model.main(["--output", str(model)]) == 0
    point = {"framework": "vllm", "model": "embedded", "precision": "bf16", "tp": 1, "ep": 1,
             "dp_attn": False, "max_model_len": 512, "image": "none"}  # fmt: skip
    launch = compose(point).model_dump(exclude_none=True)
    run = served_run(conc=4, server={"device": "cuda", "launch": launch, "start_timeout_s": 600})
    output = tmp_path / "inference.json"
    arguments = ["--run", write_run(tmp_path, run), "--embedded-model", model, "--output", output]
    assert serve_benchmark.main([str(argument) for argument in arguments]) == 0
    result = json.loads(output.read_text())
    assert result["status"] == "ok", result["reason"]
    assert result["metrics"]["num_wrong_length"] == 0
    assert result["metrics"]["num_gpus"] == 1
    assert served_processes() == []
