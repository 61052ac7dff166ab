"""Training runs on a CUDA device: clock, memory, budgets, the largest batch, device hand-out."""

import json

import pytest

torch = pytest.importorskip("torch")

from scripts import benchmark, find_batch_size  # noqa: E402
from scripts.lib.batch_size.result import BatchSizeResult  # noqa: E402
from scripts.lib.devices.peaks import peak_tflops  # noqa: E402
from scripts.lib.devices.record import device_record, device_state  # noqa: E402
from scripts.lib.kinds.training.result import TrainingResult  # noqa: E402
from scripts.lib.kinds.training.step import Step  # noqa: E402
from scripts.lib.kinds.training.timing import time_parts, time_whole  # noqa: E402
from scripts.lib.results.reading import read_result  # noqa: E402
from scripts.lib.runtime.clocks import CpuClock, CudaClock  # noqa: E402
from tests.conftest import training_run  # noqa: E402

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

# Large enough that the device, not the host, decides the time.
SIZE = {"model_size": "small", "d_model": 768, "d_ff": 3072, "num_layers": 12, "num_heads": 12}
RUN = SIZE | {"context_length": 256, "batch_size": 8, "precision": "bf16", "device": "cuda"}


def bench(write_run, tokens, tmp_path, *options, **changes):
    output = tmp_path / "benchmark.json"
    run = write_run(**(RUN | changes))
    arguments = ["--run", str(run), "--tokens", str(tokens), "--output", str(output), *options]
    assert benchmark.main(arguments) == 0
    return read_result(output, TrainingResult)


@pytest.mark.parametrize("mode", ["forward", "forward_backward", "training_step"])
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16", "bf16_mixed", "fp16_mixed"])
def test_modes_and_precisions_are_measured(mode, precision, write_run, tokens, tmp_path):
    result = bench(write_run, tokens, tmp_path, mode=mode, precision=precision)
    assert result.status == "ok", result.reason
    metrics = result.metrics
    assert result.effective.device.startswith("cuda")
    assert metrics.peak_reserved_memory_mib >= metrics.peak_memory_mib > 0
    assert metrics.memory_method == "CUDA caching allocator"
    if metrics.peak_tflops:
        assert 0 < metrics.mfu < 1


def test_the_device_is_recorded():
    device = torch.device("cuda", 0)
    record = device_record(device)
    assert record.name == torch.cuda.get_device_name(0)
    assert record.memory_mib > 1000
    state = device_state(device)
    if state:  # where NVML answers
        assert state["temperature_c"] > 0
        assert state["sm_clock_mhz"] > 0


def test_events_agree_with_the_host_clock(tokens):
    step = Step(training_run(**RUN, num_warmups=3), 8, tokens, torch.device("cuda", 0))
    for _ in range(5):
        step.whole()
    host = CpuClock()
    host.synchronize = torch.cuda.synchronize
    by_events = time_whole(step, CudaClock(), 20)
    by_host = time_whole(step, host, 20)
    assert by_events == pytest.approx(by_host, rel=0.2)


def test_parts_add_up_to_the_whole(tokens):
    step = Step(training_run(**RUN), 8, tokens, torch.device("cuda", 0))
    for _ in range(5):
        step.whole()
    whole = time_whole(step, CudaClock(), 20)
    parts = time_parts(step, CudaClock(), 20)
    assert set(parts) == {"forward", "backward", "optimizer"}
    assert sum(parts.values()) == pytest.approx(whole, rel=0.25)


def test_a_batch_beyond_the_budget_is_out_of_memory(write_run, tokens, tmp_path):
    result = bench(write_run, tokens, tmp_path, batch_size=4096, memory_budget_mib=4000)
    assert result.status == "oom"
    assert result.metrics is None


def test_the_largest_batch_fits_and_one_more_does_not(write_run, tokens, tmp_path):
    changes = {"batch_size": "auto", "memory_budget_mib": 6000}
    search = {"batch_size_search": {"upper_limit": 256}}
    run = write_run(**(RUN | changes | search))
    output = tmp_path / "batch_size.json"
    arguments = ["--run", str(run), "--tokens", str(tokens), "--output", str(output)]
    assert find_batch_size.main(arguments) == 0
    found = read_result(output, BatchSizeResult)
    assert found.status == "ok", found.reason
    assert found.certified
    outcomes = {probe.batch_size: probe.outcome for probe in found.probes}
    assert outcomes[found.batch_size] == "ok"
    measured = bench(write_run, tokens, tmp_path, "--batch-size", str(output), **(changes | search))
    assert (measured.status, measured.effective.batch_size) == ("ok", found.batch_size)


def test_compiled_steps_are_measured(write_run, tokens, tmp_path):
    result = bench(write_run, tokens, tmp_path, compile=True)
    assert result.status == "ok", result.reason
    assert result.metrics.compile_time_s > 0


def test_flash_attention_is_measured_or_unsupported(write_run, tokens, tmp_path):
    result = bench(write_run, tokens, tmp_path, attn_implementation="flash_attention_2")
    assert result.status in ("ok", "unsupported")


def test_the_last_line_is_one_json_object(write_run, tokens, tmp_path, capsys):
    bench(write_run, tokens, tmp_path)
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert line["status"] == "ok"


def test_the_lent_device_has_a_known_peak_or_none():
    peak = peak_tflops(torch.cuda.get_device_name(0), "bf16")
    assert peak is None or peak > 1
