"""Measure the points of one server: start it once, go through its concurrencies."""

import logging
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts.lib.devices.record import DeviceRecord, cpu_device, cuda_device
from scripts.lib.devices.slots import claim, visible_gpus
from scripts.lib.kinds.inference.client import MAX_FAILED_SHARE, LoadRun, Record, Target, run_load
from scripts.lib.kinds.inference.config import EMBEDDED_MODEL, InferenceRun
from scripts.lib.kinds.inference.metrics import (
    count_output,
    figures,
    other_hardware,
    warnings_of,
    wrong_lengths,
)
from scripts.lib.kinds.inference.prompts import Prompt, count_tokens, load_tokenizer, make_prompts
from scripts.lib.kinds.inference.result import (
    MEASUREMENT_VERSION,
    InferenceMetrics,
    InferenceResult,
    ServerBoot,
)
from scripts.lib.kinds.inference.server import (
    RunningServer,
    ServerError,
    missing_program,
    ran_out_of_memory,
    serve,
)
from scripts.lib.results.result import Effective, Status
from scripts.lib.runtime.progress import progress
from scripts.lib.runtime.provenance import collect_provenance, now
from scripts.lib.schema.errors import InputError

log = logging.getLogger(__name__)

# A connection breaks a little before the server is known to have ended.
END_SECONDS = 2.0

# Called with each point as soon as it is done: its id, its result, its requests.
Keep = Callable[[str, InferenceResult, list[Record]], None]


@dataclass
class _Outcome:
    status: Status
    reason: str = ""
    metrics: InferenceMetrics | None = None
    records: list[Record] | None = None


def measure_points(
    runs: Mapping[str, InferenceRun], embedded_model: str | None, log_dir: Path, keep: Keep
) -> int:
    """Measure runs of the same server by ascending concurrency; returns the server's starts.

    A point that cannot be measured, also for its tokenizer, is kept with its reason, and the next
    one is gone on with. A server that ended is started again for the next point; one that does not
    start ends all.
    """
    one = next(iter(runs.values()))
    if reason := unsupported(one):
        for run_id, run in runs.items():
            keep(run_id, _result(run_id, run, now(), _Outcome("unsupported", reason)), [])
        return 0
    model = _model(one, embedded_model)
    order = sorted(runs.items(), key=lambda item: item[1].conc)
    with ExitStack() as held:
        # A server that runs elsewhere needs no device here.
        device = None if one.server.base_url else held.enter_context(_device(one))
        record = device.record if device else None
        servers = _Servers(one, model, device, log_dir)
        held.callback(servers.close)
        for run_id, run in order:
            started_at = now()
            log.info("%s: concurrency %d", run_id, run.conc)
            try:
                outcome = _measure(run, model, servers, record)
            except (ServerError, InputError) as error:  # the server; the tokenizer
                outcome = _Outcome("failed", str(error))
            if outcome.status == "failed" and servers.out_of_memory():
                outcome.status = "oom"
            kind = device.kind if device else None
            result = _result(run_id, run, started_at, outcome, record, servers.boot, kind)
            log.info("%s: %s %s", run_id, result.status, result.reason)
            keep(run_id, result, outcome.records or [])
    return servers.boots


def unsupported(run: InferenceRun) -> str:
    """Why a run cannot be measured on this machine, found without starting anything."""
    server = run.server
    if server.unsupported or server.base_url:
        return server.unsupported
    gpus = len(visible_gpus()) if server.device != "cpu" else 0
    if "cpu" not in server.launch.devices and not gpus:
        return f"{run.framework} serves on CUDA devices only, and this machine shows none"
    if run.tp > max(gpus, 1):
        return f"tp {run.tp} needs as many GPUs, and this machine shows {gpus}"
    if server.device == "cuda" and not gpus:
        return "device: cuda is asked for, and this machine shows no GPU"
    return missing_program(server.launch)


@dataclass(frozen=True)
class _Device:
    kind: str
    record: DeviceRecord


@contextmanager
def _device(run: InferenceRun) -> Iterator[_Device]:
    with claim(run.server.device, run.tp) as kind:
        yield _Device(kind, cuda_device() if kind == "cuda" else cpu_device())


def _model(run: InferenceRun, embedded_model: str | None) -> str:
    if run.model != EMBEDDED_MODEL:
        return run.model
    if embedded_model is None:
        raise InputError(f"--embedded-model: required, because the run says model: {run.model}")
    return str(Path(embedded_model).resolve())


class _Servers:
    """The server of the points, started when it is first needed and again when it ended."""

    def __init__(self, run: InferenceRun, model: str, device: _Device | None, log_dir: Path):
        self.boots = 0
        self.boot: ServerBoot | None = None
        self._run, self._model, self._device = run, model, device
        self._log_dir = log_dir
        self._held = ExitStack()
        self._server: RunningServer | None = None
        self._failed = ""

    @property
    def _log_path(self) -> Path:
        return self._log_dir / f"server-{self.boots}.log"

    def running(self) -> RunningServer:
        """Return a healthy server. Raises ServerError when it does not start."""
        if self._run.server.base_url:
            return RunningServer(self._run.server.base_url, [], 0.0, self._log_dir, None)
        if self._failed:
            raise ServerError(self._failed)
        if self._server is None or self._server.problem():
            self.close()
            self._start()
        return self._server

    def out_of_memory(self) -> bool:
        """Whether the server, at its start or since, ended for want of memory."""
        ended = self._failed or (self._server and self._server.problem())
        return bool(ended) and ran_out_of_memory(self._log_path)

    def close(self) -> None:
        """End the server."""
        self._held.close()
        self._server = None

    def _start(self) -> None:
        self.boots += 1
        self.boot = None
        options = self._run.server
        path = self._log_path
        fields = {"model": self._model, "device": self._device.kind}
        environment = _threads() if self._device.kind == "cpu" else {}
        log.info("starting the server, its log is %s", path)
        try:
            self._server = self._held.enter_context(
                serve(options.launch, fields, path, options.start_timeout_s, environment)
            )
        except ServerError as error:
            self._failed = str(error)
            raise
        log.info("healthy after %.1f s", self._server.start_seconds)
        self.boot = ServerBoot(
            server_boot=uuid.uuid4().hex[:12],
            server_boots=self.boots,
            server_start_time_s=self._server.start_seconds,
            command=self._server.command,
        )


def _threads() -> dict[str, str]:
    """Threads of a server on the CPU: the cores of the job but one, which is the client's.

    Threads that wait for one another at every operation are slowed a hundredfold where more of
    them are runnable than there are cores. Snakemake tells a job its cores in OMP_NUM_THREADS.
    """
    cores = len(os.sched_getaffinity(0))
    told = os.environ.get("OMP_NUM_THREADS", "")
    if told.isdigit():
        cores = min(cores, int(told))
    return {"OMP_NUM_THREADS": str(max(1, cores - 1))}


def _measure(
    run: InferenceRun, model: str, servers: _Servers, device: DeviceRecord | None
) -> _Outcome:
    load = run.load
    num_prompts, num_warmups = load.prompts_per_conc * run.conc, load.warmups_per_conc * run.conc
    tokenizer = load_tokenizer(run.server.tokenizer or model)
    prompts = make_prompts(
        tokenizer, num_warmups + num_prompts, run.isl, load.random_range_ratio, prompt_seed(run)
    )
    server = servers.running()
    options = run.server
    extra = options.launch.request if options.launch else options.request or {}
    target = Target(server.url, model, run.osl, extra)
    with progress(f"concurrency {run.conc}", 2) as advance:
        warm = _warm_up(target, prompts[:num_warmups], run)
        advance()
        if reason := (server.problem(END_SECONDS) or warm) if warm else "":
            return _Outcome("failed", reason)
        measured = run_load(target, prompts[num_warmups:], run.conc, load)
        advance()
    texts = [record.text for record in measured.records]
    count_output(measured.records, count_tokens(tokenizer, texts), run.osl)
    failed = any(record.error for record in measured.records)
    problem = server.problem(END_SECONDS) if failed else ""
    return _outcome(run, measured, num_prompts, problem, device)


def prompt_seed(run: InferenceRun) -> str:
    """Seed of a run's prompts, of all that may differ between runs of one server.

    Else a server would answer a run from the cache of prefixes that another one left.
    """
    return run.model_dump_json(include={"isl", "osl", "conc", "load"})


def _warm_up(target: Target, prompts: list[Prompt], run: InferenceRun) -> str:
    """Send the warm-up requests; returns what failed if all did."""
    if not prompts:
        return ""
    closed = run.load.model_copy(update={"request_rate": None})
    records = run_load(target, prompts, run.conc, closed, allowed_failures=1).records
    failed = [record.error for record in records if record.error]
    return f"every warm-up request failed: {failed[0]}" if len(failed) == len(records) else ""


def _outcome(
    run: InferenceRun,
    load: LoadRun,
    num_prompts: int,
    problem: str,
    device: DeviceRecord | None,
) -> _Outcome:
    failed = [record for record in load.records if record.error]
    if problem:
        return _Outcome("failed", problem, records=load.records)
    if len(failed) > MAX_FAILED_SHARE * num_prompts:
        reason = f"{len(failed)} of {len(load.records)} requests failed, the first: "
        return _Outcome("failed", reason + failed[0].error, records=load.records)
    num_gpus = run.tp
    warnings = warnings_of(load, run.osl)
    if device:
        warnings += other_hardware(run.runner, device.name)
    metrics = InferenceMetrics(
        num_gpus=num_gpus,
        num_prompts=num_prompts,
        num_failed=len(failed),
        num_wrong_length=wrong_lengths(load.records, run.osl),
        client_cpu_share=load.client_cpu_share,
        warnings=warnings,
        **figures(load, num_gpus),
    )
    return _Outcome("ok", metrics=metrics, records=load.records)


def _result(
    run_id: str,
    run: InferenceRun,
    started_at: str,
    outcome: _Outcome,
    device: DeviceRecord | None = None,
    boot: ServerBoot | None = None,
    kind: str | None = None,
) -> InferenceResult:
    return InferenceResult(
        measurement_version=MEASUREMENT_VERSION,
        run=run_id,
        status=outcome.status,
        reason=outcome.reason,
        settings=run,
        effective=Effective(device=kind) if kind else None,
        metrics=outcome.metrics,
        boot=boot,
        provenance=collect_provenance(started_at, device, run.load.seed),
    )
