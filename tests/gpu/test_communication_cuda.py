"""Communication over NCCL: one rank, so start-up and the device's own copies only."""

import json

import pytest
import torch

from scripts import benchmark_communication
from scripts.lib.kinds.communication.config import CommunicationRun
from scripts.lib.kinds.communication.kind import Communication

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("operation", ["all_reduce", "all_gather", "reduce_scatter", "broadcast"])
def test_one_rank_over_nccl(operation, tmp_path):
    run = CommunicationRun.model_validate(
        {"operation": operation, "ranks": 1, "backend": "nccl", "device": "cuda", "num_trials": 6}
    )
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"run": "r-00000000", "settings": run.model_dump()}))
    output = tmp_path / "communication.json"
    assert benchmark_communication.main(["--run", str(path), "--output", str(output)]) == 0
    result = Communication().read_result(output)
    assert result.status == "ok", result.reason
    assert result.metrics.backend == "nccl"
    assert result.effective.device.startswith("cuda")
    assert not any(message.num_wrong for message in result.metrics.messages)
