"""The model, its FLOPs, its memory and its timing, on real torch and transformers."""

import json
import subprocess
import sys

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from scripts import benchmark
from scripts.lib.config.loading import SIZES
from scripts.lib.devices.peaks import peak_tflops
from scripts.lib.kinds.training import timing
from scripts.lib.kinds.training.flops import flops_per_step
from scripts.lib.kinds.training.result import TrainingResult
from scripts.lib.kinds.training.step import Step, build_model
from scripts.lib.kinds.training.timing import time_parts, time_trials, time_whole
from scripts.lib.results.reading import read_result
from scripts.lib.runtime.clocks import CpuClock
from scripts.lib.runtime.memory import LiveStorage, is_out_of_memory
from scripts.lib.runtime.outcomes import classify
from scripts.lib.schema.yaml_file import load_yaml
from scripts.lib.sweeps.sizes import count_parameters
from tests.conftest import ROOT, training_run

CPU = torch.device("cpu")
SIZES = load_yaml(SIZES).data


@pytest.mark.parametrize("size", SIZES)
def test_parameter_counts_equal_the_formula(size):
    run = training_run(model_size=size, vocab=10_000, **SIZES[size])
    model = build_model(run, torch.device("meta"))
    counted = sum(p.numel() for p in model.parameters())
    d, f, layers = run.d_model, run.d_ff, run.num_layers
    assert counted == 10_000 * d * 2 + layers * (4 * d * d + 3 * d * f + 2 * d) + d
    assert counted == count_parameters(10_000, d, f, layers)


@pytest.mark.parametrize("mode", ["forward", "forward_backward", "training_step"])
def test_flops_equal_those_that_torch_counts(mode, tokens):
    run = training_run(mode=mode, attn_implementation="eager", num_layers=2)
    step = Step(run, 3, tokens, CPU)
    with FlopCounterMode(display=False) as counter:
        step.whole()
    counted = counter.get_total_flops()
    # Rotary positions are a small product that the formula leaves out.
    assert flops_per_step(run, 3) == pytest.approx(counted, rel=0.01)


def test_live_storage_counts_what_lives():
    with LiveStorage() as storage:
        a = torch.zeros(1024)  # 4 KiB
        b = a + 1  # 4 KiB more
        view = b[:10]  # a view takes nothing
        assert storage.live_bytes == 8192
        del a
        assert storage.live_bytes == 4096
        del b
        assert storage.live_bytes == 4096
        del view
        assert storage.live_bytes == 0
        torch.zeros(1)
    assert storage.peak_bytes == 8192


def test_live_storage_refuses_to_go_above_its_limit():
    with pytest.raises(torch.OutOfMemoryError, match=r"exceeded by 0\.5 MiB"), LiveStorage(1 << 20):
        torch.zeros(3 << 17)


def test_peak_memory_is_repeatable_and_grows_with_the_batch(tokens):
    def peak(batch_size):
        with LiveStorage() as storage:
            step = Step(training_run(), batch_size, tokens, CPU)
            step.whole()
            step.whole()
        return storage.peak_bytes

    assert peak(2) == peak(2) < peak(4)


def test_inputs_count_as_memory(tokens):
    with LiveStorage() as storage:
        step = Step(training_run(mode="forward"), 512, tokens, CPU)
    weights = sum(p.numel() for p in step.model.parameters()) * 4
    assert storage.live_bytes >= weights + step.batches.numel() * 8


def test_an_operator_too_large_for_the_host_is_out_of_memory():
    code = (
        "import torch; from scripts.lib.runtime import torch_device; "
        "from scripts.lib.runtime.outcomes import classify; torch_device.HOST_LIMIT = 0.1\n"
        "torch_device.limit_memory(None, torch.device('cpu'))\n"
        "try: torch.zeros(torch_device.host_memory_bytes() // 4, dtype=torch.uint8)\n"
        "except RuntimeError as error: print(classify(error))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "oom\n"


def test_out_of_memory_is_told_by_type_and_allocator_not_by_words():
    assert is_out_of_memory(torch.OutOfMemoryError("x"))
    with pytest.raises(RuntimeError) as error:
        torch.empty(1 << 60)
    assert classify(error.value) == "oom"
    assert classify(RuntimeError("out of memory, says somebody")) == "failed"
    assert classify(NotImplementedError("x")) == "unsupported"


class ScriptedStep:
    """A step whose parts take known times on a scripted clock."""

    def __init__(self, run):
        self.run, self.time, self.parts = run, 0.0, ("forward", "backward", "optimizer")
        self.calls = []

    def _part(self, name, milliseconds):
        self.calls.append(name)
        self.time += milliseconds / 1000

    def forward(self):
        self._part("forward", 2)

    def backward(self):
        self._part("backward", 5)

    def optimize(self):
        self._part("optimizer", 1)

    def zero_grad(self):
        pass

    def whole(self):
        self.forward(), self.backward(), self.optimize()


def scripted(**changes):
    step = ScriptedStep(training_run(**changes))
    clock = CpuClock()
    clock.mark = lambda: step.time
    return step, clock


def test_times_are_those_of_the_clock():
    step, clock = scripted()
    assert time_whole(step, clock, 3) == pytest.approx(8)
    assert time_parts(step, clock, 4) == pytest.approx(
        {"forward": 2, "backward": 5, "optimizer": 1}
    )


def test_each_trial_times_the_whole_and_the_parts_in_a_seeded_order():
    step, clock = scripted(num_trials=7, num_steps=2)
    trials = []
    whole, parts = time_trials(step, clock, lambda: trials.append(1))
    assert len(whole) == len(parts["forward"]) == len(parts["backward"]) == len(trials) == 7
    assert step.calls.count("forward") == 7 * 2 * 2


def test_the_seed_decides_whether_the_whole_or_its_parts_come_first(monkeypatch):
    def order(seed):
        called = []
        monkeypatch.setattr(timing, "time_whole", lambda *_: called.append("whole") or 1.0)
        monkeypatch.setattr(timing, "time_parts", lambda *_: called.append("parts") or {})
        step, clock = scripted(num_trials=12, seed=seed)
        time_trials(step, clock)
        return called

    assert order(1) == order(1) != order(2)
    first = order(1)[::2]
    assert {"whole", "parts"} == set(first)


def bench(write_run, tokens, tmp_path, **changes):
    output = tmp_path / "benchmark.json"
    arguments = ["--run", str(write_run(**changes)), "--tokens", str(tokens)]
    assert benchmark.main([*arguments, "--output", str(output)]) == 0
    return read_result(output, TrainingResult)


@pytest.mark.parametrize("mode", ["forward", "forward_backward", "training_step"])
def test_a_run_is_measured(mode, write_run, tokens, tmp_path, capsys):
    result = bench(write_run, tokens, tmp_path, mode=mode, device="cpu")
    assert (result.status, result.reason) == ("ok", "")
    metrics = result.metrics
    assert len(metrics.trial_times_ms) == 6
    assert min(metrics.trial_times_ms) <= metrics.median_step_time_ms <= max(metrics.trial_times_ms)
    assert (
        metrics.median_step_time_ci_low_ms
        <= metrics.median_step_time_ms
        <= metrics.median_step_time_ci_high_ms
    )
    assert metrics.tokens_per_s == pytest.approx(2 * 16 / metrics.median_step_time_ms * 1000)
    assert metrics.forward_only == (mode == "forward")
    assert (metrics.backward_times_ms is None) == (mode == "forward")
    assert (metrics.optimizer_times_ms is None) == (mode != "training_step")
    assert metrics.mfu is None
    assert metrics.peak_memory_mib > 4 * metrics.num_parameters / 2**20
    assert metrics.device_state["before"]["num_threads"] == torch.get_num_threads()
    assert torch.__version__.startswith(result.provenance.packages["torch"])
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert line["status"] == "ok"


@pytest.mark.parametrize("precision", ["bf16", "bf16_mixed", "fp16", "fp16_mixed"])
def test_precisions_are_measured_or_unsupported(precision, write_run, tokens, tmp_path):
    result = bench(write_run, tokens, tmp_path, precision=precision, device="cpu")
    assert result.status in ("ok", "unsupported"), result.reason
    if precision.startswith("bf16"):
        assert result.status == "ok"


def test_weights_have_the_precision_that_was_asked_for():
    types = {"fp32": torch.float32, "bf16": torch.bfloat16, "bf16_mixed": torch.float32}
    for precision, dtype in types.items():
        assert build_model(training_run(precision=precision), CPU).dtype == dtype


def test_peak_tflops_give_the_mfu(write_run, tokens, tmp_path):
    result = bench(write_run, tokens, tmp_path, peak_tflops=0.5, device="cpu")
    assert result.metrics.mfu == pytest.approx(result.metrics.tflops_per_s / 0.5)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"attn_implementation": "flash_attention_2"}, "needs a CUDA"),
        ({"precision": "tf32"}, "8.0"),
    ],
)
def test_what_a_cpu_cannot_do_is_unsupported(changes, reason, write_run, tokens, tmp_path):
    result = bench(write_run, tokens, tmp_path, device="cpu", **changes)
    assert result.status == "unsupported"
    assert reason in result.reason
    assert result.metrics is None


def test_a_batch_beyond_the_budget_is_out_of_memory(write_run, tokens, tmp_path):
    result = bench(write_run, tokens, tmp_path, batch_size=64, memory_budget_mib=2, device="cpu")
    assert result.status == "oom"
    assert "exceeded by" in result.reason


def test_bad_input_is_one_line_and_no_file(write_run, tmp_path, capsys):
    output = tmp_path / "benchmark.json"
    arguments = ["--run", str(write_run()), "--tokens", str(tmp_path / "no.npy")]
    assert benchmark.main([*arguments, "--output", str(output)]) == 2
    assert capsys.readouterr().err.strip().splitlines()[-1].endswith("No such file or directory")
    assert not output.exists()


def test_compiled_steps_are_measured(write_run, tokens, tmp_path):
    result = bench(write_run, tokens, tmp_path, compile=True, mode="forward", device="cpu")
    assert result.status == "ok", result.reason
    assert result.metrics.compile_time_s > 0


def test_peaks_are_found_by_the_names_that_devices_have():
    assert peak_tflops("NVIDIA H200", "bf16") == 989.4
    assert peak_tflops("NVIDIA H100 PCIe", "bf16_mixed") == 756
    assert peak_tflops("NVIDIA A100-SXM4-80GB", "tf32") == 156
    assert peak_tflops("NVIDIA A10G", "bf16") == 70
    assert peak_tflops("AMD EPYC", "fp32") is None
    assert peak_tflops("NVIDIA GeForce RTX 4090 Laptop GPU", "bf16") is None
