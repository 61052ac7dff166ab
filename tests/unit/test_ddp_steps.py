"""Gradients, losses and evaluation of several ranks against one process."""

import numpy as np
import pytest
from ddp_ranks import (
    capped_evaluation,
    damaged,
    ddp_run,
    evaluation,
    fitted,
    gradient_errors,
    late_step,
    losses,
    on_ranks,
)

from scripts.lib.kinds.ddp.cache import open_text, write_text_cache
from scripts.lib.kinds.ddp.streams import Sequence, Stream


@pytest.fixture(scope="session")
def text_folder(tmp_path_factory):
    """The embedded text, tokenised with the vocabulary of the tests."""
    folder = tmp_path_factory.mktemp("text")
    write_text_cache(ddp_run(), folder)
    return folder


@pytest.mark.parametrize("ranks", [2, 4])
def test_every_mode_has_the_gradient_of_the_global_batch(ranks, text_folder, tmp_path):
    runs = [
        ddp_run(ranks=ranks, task=task, accumulation=accumulation)
        for task in ("sequence_classification", "causal_lm")
        for accumulation in (1, 3)
    ]
    errors = on_ranks(gradient_errors, ranks, tmp_path, runs, text_folder)
    assert len(errors) == 12
    assert max(errors.values()) < 1e-5, errors


def test_static_and_sorted_learn_the_same(text_folder, tmp_path):
    run = ddp_run(modes=["static", "sorted"], steps=50, dropout=0.0, learning_rate=1e-3)
    found = on_ranks(losses, 2, tmp_path, run, text_folder, tmp_path)
    assert len(found["static"]) == 50
    assert np.abs(found["static"] - found["sorted"]).max() < 1e-4
    assert found["static"][-5:].mean() < found["static"][:5].mean()


@pytest.mark.parametrize("task", ["sequence_classification", "causal_lm"])
def test_evaluation_is_the_same_on_any_number_of_ranks(task, text_folder, tmp_path):
    run = ddp_run(task=task)
    alone, together = (on_ranks(evaluation, ranks, tmp_path, run, text_folder) for ranks in (1, 3))
    assert together == pytest.approx(alone, rel=1e-6)


def test_an_evaluation_keeps_to_the_room_of_a_rank(text_folder, tmp_path):
    run = ddp_run(task="causal_lm")
    whole = on_ranks(evaluation, 1, tmp_path, run, text_folder)
    told, most = on_ranks(capped_evaluation, 1, tmp_path, run, text_folder, 100)
    assert 48 <= most <= 100
    assert told == pytest.approx(whole, rel=1e-6)


@pytest.mark.parametrize("precision", ["bf16_mixed", "fp16_mixed"])
def test_mixed_precision_learns(precision, text_folder, tmp_path):
    run = ddp_run(modes=["sorted"], precision=precision, steps=30, learning_rate=3e-3)
    found = on_ranks(losses, 2, tmp_path, run, text_folder, tmp_path)["sorted"]
    assert np.isfinite(found).all()
    assert found[-5:].mean() < found[:5].mean()


def test_waiting_for_a_late_rank_is_no_computing(text_folder, tmp_path):
    compute_ms, wait_ms = on_ranks(late_step, 2, tmp_path, ddp_run(), text_folder, 0.5)
    assert wait_ms > 300
    assert compute_ms < 300


def test_a_loss_that_is_no_number_ends_the_run(text_folder, tmp_path):
    run = ddp_run(ranks=1, modes=["sorted"], learning_rate=1e30)
    with pytest.raises(RuntimeError, match=r"loss is not finite from step \d+ of mode sorted"):
        on_ranks(losses, 1, tmp_path, run, text_folder, tmp_path)


def test_a_damaged_checkpoint_is_none(text_folder, tmp_path):
    run = ddp_run(modes=["dynamic"], checkpoint_steps=3)
    found = on_ranks(damaged, 2, tmp_path, run, text_folder, tmp_path)
    assert "continuing at seed 0, step 9" in found["none"][0]
    for name, (told, losses_after) in found.items():
        assert (losses_after == found["none"][1]).all()
        assert any("beginning anew" in line for line in told) == (name != "none")


@pytest.mark.parametrize("samples", [1, 3])
def test_a_cost_is_fitted_within_little_memory(samples, text_folder, tmp_path):
    run = ddp_run(modes=["sorted"], global_batch=2, cost_type="fitted", steps=3)
    found = on_ranks(fitted, 2, tmp_path, run, text_folder, tmp_path, samples * 48)
    assert np.isfinite(found).all()


def test_what_does_not_fit_writes_nothing(text_folder, tmp_path):
    run = ddp_run(cost_type="fitted", modes=["sorted"])
    with pytest.raises(RuntimeError, match=r"ScheduleError.*limit of 3 tokens"):
        on_ranks(fitted, 2, tmp_path, run, text_folder, tmp_path, 3)
    assert not (tmp_path / "sorted").exists()


def test_an_epoch_has_every_sample_once():
    sequence = Sequence(10, seed=3)
    epochs = sequence.take(0, 30).reshape(3, 10)
    assert (np.sort(epochs, axis=1) == np.arange(10)).all()
    assert (epochs[0] != epochs[1]).any()
    pieces = np.concatenate([sequence.take(at, 7) for at in range(0, 28, 7)])
    assert (pieces == epochs.reshape(-1)[:28]).all()


@pytest.mark.parametrize("mode", ["static", "dynamic", "sorted"])
@pytest.mark.parametrize("ranks", [1, 2, 5])
def test_streams_use_every_sample_and_continue_where_they_were(mode, ranks):
    run = ddp_run(ranks=ranks, global_batch=20)
    lengths = np.random.default_rng(0).integers(3, 48, size=97)
    stream = Stream(mode, run, lengths, seed=1)
    steps = [stream.next() for _ in range(4)]
    state = stream.state()
    after = [stream.next() for _ in range(6)]
    again = Stream(mode, run, lengths, seed=1)
    again.restore(state)
    for expected in after:
        for ours, theirs in zip(expected.groups, again.next().groups, strict=True):
            assert (ours == theirs).all()
    groups = [group for plan in steps + after for group in plan.groups]
    assert all(len(group) for group in groups)
    assert all(sum(map(len, plan.groups)) == 20 for plan in steps + after)
    assert all(plan.bound <= plan.largest_cost for plan in steps + after)
    used = np.concatenate(groups)
    if mode == "dynamic":
        # What is dealt is used or waits in a buffer.
        used = np.concatenate([used, *stream.state()["buffers"]])
    times = np.bincount(used, minlength=97)
    assert times.max() - times.min() <= 1


def test_static_and_sorted_have_the_same_samples_in_each_step():
    run = ddp_run(ranks=4)
    lengths = np.random.default_rng(0).integers(3, 48, size=97)
    streams = [Stream(mode, run, lengths, seed=1) for mode in ("static", "sorted")]
    longest = set()
    for _ in range(30):
        plans = [stream.next() for stream in streams]
        batches = [np.sort(np.concatenate(plan.groups)) for plan in plans]
        assert (batches[0] == batches[1]).all()
        longest.add(int(np.argmax([lengths[group].max() for group in plans[1].groups])))
    assert longest == {0, 1, 2, 3}  # no rank always has the longest samples


@pytest.mark.parametrize("mode", ["dynamic", "sorted"])
def test_schedules_keep_to_the_memory_of_a_rank(mode):
    run = ddp_run(ranks=2)
    lengths = np.random.default_rng(0).integers(3, 48, size=500)
    stream = Stream(mode, run, lengths, seed=1, max_tokens=10 * 48)
    for _ in range(50):
        for group in stream.next().groups:
            assert len(group) * lengths[group].max() <= 10 * 48


def test_batches_are_cut_off_and_padded(text_folder):
    text = open_text(text_folder)
    rows = np.argsort(text.train.lengths(10**6))[[0, -1]]
    ids, mask, labels = text.train.batch(rows, 48, text.pad_id)
    assert ids.shape == mask.shape == (2, 48)
    assert mask.sum(axis=1).tolist() == text.train.lengths(48)[rows].tolist()
    assert (ids[mask == 0] == text.pad_id).all()
    assert set(labels) <= {0, 1}
