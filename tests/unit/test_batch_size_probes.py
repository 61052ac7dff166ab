"""Real probes: how each can end, the two budgets of the CPU, ranks that probe together."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from scripts.lib.batch_size.agreement import agree
from scripts.lib.batch_size.probes import ProbeServer
from scripts.lib.batch_size.search import Outcome
from scripts.lib.batch_size.task import Task
from scripts.lib.kinds.registry import KINDS
from scripts.lib.runtime.ranks import RankLost, Ranks
from tests.conftest import ROOT, training_run
from tests.unit import batch_size_children as children


def task(tokens, **search):
    run = training_run(batch_size="auto", device="cpu", num_threads=1, batch_size_search=search)
    return Task(run, str(tokens), "cpu", KINDS["training"].probing)


@pytest.mark.parametrize(
    ("ending", "outcome", "reason"),
    [
        (children.kills_itself, "oom", "killed by signal 9"),
        (children.hangs, "failed", "no result within 20 s"),
        (children.exits, "failed", "exit code 3"),
        (children.raises_room, "failed", "no room in the mailbox"),
        (children.raises_out_of_memory, "oom", "OutOfMemoryError: CUDA out of memory"),
        (children.raises_cpu_allocator, "oom", "can't allocate memory"),
        (children.raises_not_implemented, "unsupported", "NotImplementedError: Could not run"),
        (children.raises_import_error, "unsupported", "ImportError: requires the package"),
        (children.raises_knob, "unsupported", "top_k: the model has no routed experts"),
    ],
)
def test_each_end_of_a_probe_is_told_apart(tokens, ending, outcome, reason):
    timeout_s = 0.3 if ending is children.hangs else 20.0
    server = ProbeServer(task(tokens, probe_timeout_s=timeout_s), ending)
    if ending is children.hangs:
        server.describe()  # the server has started: what follows is the probe's own time
        reason = "no result within 0.3 s"
    found = server.probe(4, 1e9, "budget")
    assert found.outcome == outcome
    assert reason in found.reason


def real(*arguments):
    """What the benchmark of real probes finds in a fresh start of Python."""
    command = [sys.executable, "-m", "benchmarks.batch_size_probes", *arguments]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_nine_configurations_are_certified_and_the_same_in_every_start():
    found = real("--budget-method", "budget")
    assert found["certified"]
    # Three context lengths with three budgets each; tensors have the same size everywhere.
    assert found["batch_sizes"] == [36, 64, 64, 18, 33, 48, 9, 16, 24]
    assert found["overhead_s"] < 0.3


def test_a_limit_of_the_system_is_certified_and_the_same_in_a_fresh_start():
    arguments = ("--budget-method", "rlimit", "--context-lengths", "128", "--budgets-mib", "40")
    first, second = real(*arguments), real(*arguments)
    assert first["certified"]
    assert first["batch_sizes"] == second["batch_sizes"]


def test_ranks_agree_on_the_worst_outcome():
    fits, small = Outcome("ok", 10.0), Outcome("ok", 5.0)
    oom, failed = Outcome("oom", reason="full"), Outcome("failed", reason="boom")
    assert agree([4, 4], [small, fits]) == fits
    assert agree([4, 4], [fits, oom]) == Outcome("oom", reason="rank 1: full")
    assert agree([4, 4], [failed, oom]) == Outcome("failed", reason="rank 0: boom")
    lacks = Outcome("unsupported", reason="no experts")
    assert agree([4, 4], [oom, lacks]) == Outcome("unsupported", reason="rank 1: no experts")
    with pytest.raises(RankLost, match=r"different batch sizes: \[4, 5\]"):
        agree([4, 5], [fits, fits])


SCRIPT = """
import os, signal, sys
from scripts import find_batch_size
from scripts.lib.batch_size.agreement import agree
from scripts.lib.batch_size.probes import ProbeServer

if __name__ == "__main__":
    rank = int(os.environ["RANK"])
    if {dies} and rank == 1:
        ProbeServer.probe = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    budget = [2.0, 1.5][rank]
    sys.exit(find_batch_size.main([
        "--run", {run!r}, "--data", {tokens!r}, "--output", {output!r},
        "--memory-budget-mib", str(budget)]))
"""


def torchrun(tmp_path, write_run, tokens, dies):
    run = write_run(
        batch_size="auto", device="cpu", num_threads=1, batch_size_search={"upper_limit": 16}
    )
    output, script = tmp_path / "batch_size.json", tmp_path / "ranks.py"
    script.write_text(
        SCRIPT.format(dies=dies, run=str(run), tokens=str(tokens), output=str(output))
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone",
               "--nproc-per-node", "2", str(script)]  # fmt: skip
    done = subprocess.run(
        command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    return done.returncode, done.stderr, output


def test_ranks_with_different_budgets_take_the_smaller(tmp_path, write_run, tokens):
    code, errors, output = torchrun(tmp_path, write_run, tokens, dies=False)
    assert code == 0, errors
    found = json.loads(output.read_text())
    assert (found["budget_mib"], found["ranks"], found["certified"]) == (1.5, 2, True)
    assert all(p["peak_memory_mib"] <= 1.5 for p in found["probes"] if p["outcome"] == "ok")
    assert next(p for p in found["probes"] if p["outcome"] == "oom")


def test_a_rank_that_dies_ends_the_search_with_its_reason(tmp_path, write_run, tokens):
    code, errors, output = torchrun(tmp_path, write_run, tokens, dies=True)
    assert code != 0
    assert "another rank has died" in errors
    assert not output.exists()


class DictStore:
    """A store of ranks in one process."""

    def __init__(self):
        self.values = {}

    def set(self, key, value):
        self.values[key] = value.encode()

    def get(self, key):
        return self.values[key]

    def check(self, keys):
        return all(key in self.values for key in keys)


def test_ranks_see_what_each_gave():
    store = DictStore()
    both = [Ranks(store, rank, 2) for rank in (0, 1)]
    with ThreadPoolExecutor(2) as pool:
        seen = list(pool.map(lambda ranks: ranks.gather({"rank": ranks.rank}), both))
        assert seen == [[{"rank": 0}, {"rank": 1}]] * 2
        list(pool.map(Ranks.leave, both))


def test_nobody_waits_for_a_rank_that_is_silent_or_failed(monkeypatch):
    monkeypatch.setattr("scripts.lib.runtime.ranks.PATIENCE_SECONDS", 0.2)
    with pytest.raises(RankLost, match="rank 1 has died: nothing heard of it"):
        Ranks(DictStore(), 0, 2).gather(1)
    store = DictStore()
    Ranks(store, 1, 2).leave("InputError: no such file")
    with pytest.raises(RankLost, match="rank 1 failed: InputError: no such file"):
        Ranks(store, 0, 2).gather(1)


def test_a_lost_store_is_told_not_waited_for():
    store = DictStore()
    ranks = Ranks(store, 0, 2)

    def lost(*_):
        raise RuntimeError("Connection reset by peer\nstack")

    store.set = lost
    with pytest.raises(RankLost, match=r"the store of the ranks is gone.*Connection reset by peer"):
        ranks.gather(1)
