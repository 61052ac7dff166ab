"""Accuracy sweeps: which points they have, what is refused, what decides a run's identity."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from scripts.lib.config import InputError, expand, load_config
from scripts.lib.kinds.accuracy.config import AccuracyRun, latin_hypercube
from scripts.lib.kinds.accuracy.data import read_samples
from scripts.lib.kinds.accuracy.digits import digits, puzzle, split
from scripts.lib.kinds.accuracy.measurement import EmbeddedVlm
from scripts.lib.kinds.accuracy.shards import (
    append_line,
    done_ids,
    open_lines,
    read_lines,
    share_of,
    union,
)
from scripts.lib.kinds.accuracy.shared import importance_digest
from scripts.lib.workflow.inputs import check_inputs


def runs_of(tmp_path, **sweep):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"sweeps": {"a": {"kind": "accuracy"} | sweep}}))
    expansion = expand(load_config([path]))
    check_inputs(expansion)
    return [json.loads(expansion.runs[run].settings) for run in expansion.sweeps["a"]]


def points(runs):
    return [
        (r["max_crops"], r["top_k"], r["num_active_blocks"], r["block_selection"]) for r in runs
    ]


def test_each_knob_alone_begins_with_the_reference(tmp_path):
    found = runs_of(tmp_path, max_crops=[1, 9], top_k=[2, 4], num_active_blocks=[3, 6],
                    block_selection=["prefix", "importance"])  # fmt: skip
    assert points(found) == [(9, 4, 6, None), (1, 4, 6, None), (9, 2, 6, None),
                             (9, 4, 3, "prefix"), (9, 4, 3, "importance")]  # fmt: skip
    assert [bool(run["importance"]) for run in found] == [False] * 4 + [True]
    assert found[4]["importance"]["max_crops"] == 9


def test_a_further_value_changes_no_other_run(tmp_path):
    few = runs_of(tmp_path, max_crops=[4, 9])
    more = runs_of(tmp_path, max_crops=[1, 4, 9], num_active_blocks=[2])
    assert all(run in more for run in few)
    assert len(more) == len(few) + 2


def test_names_of_the_document_mean_the_same(tmp_path):
    plain = runs_of(tmp_path, max_crops=[4, 9], top_k=[2])
    named = runs_of(tmp_path, max_crops_list=[1, 4, 9], start_from_max_crops=4, top_k_list=[2])
    assert plain == named


def test_a_latin_hypercube_uses_every_stratum_and_its_seed(tmp_path):
    axes = {"a": [1, 2, 4, 8], "b": [1, 2]}
    found = latin_hypercube(axes, 8, 0)
    for name, values in axes.items():
        counts = [sum(point[name] == value for point in found) for value in values]
        assert counts == [8 // len(values)] * len(values)
    assert latin_hypercube(axes, 8, 0) == found != latin_hypercube(axes, 8, 1)
    sampled = runs_of(tmp_path, max_crops=[1, 4, 9], top_k=[1, 2], combine="sample", samples=5)
    assert points(sampled)[0] == (9, 4, 6, None)
    assert 3 <= len(sampled) <= 6
    assert len(runs_of(tmp_path, max_crops=[1, 4], top_k=[1, 2], combine="grid")) == 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "internvl"}, "model: unknown model 'internvl'; allowed: embedded, a folder (./NAME) or"),
        ({"model": "./nowhere"}, "model: ./nowhere: no such folder"),
        ({"model": "{tmp}/folder"}, "is no checkpoint of transformers: it has no config.json"),
        ({"top_k": [2, 9]}, "top_k: 9 is out of range: the embedded model has 8 experts"),
        ({"num_active_blocks": 7}, "num_active_blocks: 7 is out of range: the embedded model has 6 blocks"),
        ({"num_active_blocks": 0}, "num_active_blocks: must be greater than or equal to 1, got 0"),
        ({"reference": {"top_k": 16}}, "reference.top_k: 16 is out of range"),
        ({"num_active_blocks": 2, "block_selection": [0, 6]}, "block 6 is none of the embedded model's 0 to 5"),
        ({"num_active_blocks": 3, "block_selection": [0, 1]}, "3 is more than the 2 blocks of block_selection"),
        ({"metric": "bleu"}, "metric: must be 'exact_match', 'vqa_accuracy'"),
        ({"max_crops": 1, "max_crops_list": 2}, "max_crops_list: is the same as max_crops"),
        ({"start_from_max_crops": 4, "max_crops": [1, 2]}, "leaves none of max_crops [1, 2]"),
        ({"dataset": {"path": "csv"}}, "dataset.data_files: required with path: csv"),
        ({"dataset": {"path": "csv", "data_files": ["{tmp}/no.csv"]}}, "no.csv: no such file"),
        ({"dataset": {"path": "csv", "data_files": ["{tmp}/empty.csv"]}}, "empty.csv: is empty"),
        ({"dataset": {"path": "csv", "data_files": ["{tmp}/rows.csv"], "answer_column": "reply"}},
         "dataset.answer_column: no column 'reply'; the data has: picture, question, answer"),
        ({"dataset": {"path": "embedded", "prompt": "Say it"}}, "dataset.prompt: has no place for the question"),
        ({"embedded": {"top_k": 9}}, "embedded.top_k: 9 is above num_experts 8"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_one_line(changes, message, tmp_path):
    (tmp_path / "empty.csv").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "rows.csv").write_text("picture,question,answer\na.png,which?,3\n")
    changes = json.loads(json.dumps(changes).replace("{tmp}", str(tmp_path)))
    with pytest.raises(InputError) as refused:
        runs_of(tmp_path, **changes)
    assert len(refused.value.problems) == 1
    assert message in refused.value.problems[0]
    assert "sweeps.a" in refused.value.problems[0]


def run_with(**changes):
    return AccuracyRun.model_validate({"embedded": EmbeddedVlm().model_dump()} | changes)


def test_embedded_samples_depend_on_seed_and_number_alone():
    many, few = (read_samples(run_with(num_samples=n)) for n in (50, 5))
    assert [many[i].answers for i in range(5)] == [few[i].answers for i in range(5)]
    assert np.array_equal(np.asarray(many[3].image), np.asarray(few[3].image))
    held_out = read_samples(run_with(num_samples=50), 50, held_out=True)
    assert [held_out[i].answers for i in range(9)] != [many[i].answers for i in range(9)]
    train, test = split()
    assert not set(train) & set(test)
    assert len(train) + len(test) == len(digits()[1]) == 1797


def test_an_answer_is_what_the_image_shows():
    pixels, values = digits()
    found = puzzle(1, 0, 3)
    rows, columns = (size // 8 for size in found.image.shape)
    tiles = found.image.reshape(rows, 8, columns, 8).transpose(0, 2, 1, 3).reshape(-1, 8, 8)
    shown = [
        int(values[np.argmin(np.abs(pixels.astype(int) - tile).sum((1, 2)))]) for tile in tiles
    ]
    expected = sorted(shown) if found.question.startswith("sort") else shown
    assert found.answer == " ".join(map(str, expected))


def test_local_files_with_a_mapping_of_columns(tmp_path):
    for number in range(4):
        Image.new("RGB", (10 + number, 8), (number, 0, 0)).save(tmp_path / f"{number}.png")
    rows = tmp_path / "rows.csv"
    with rows.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["picture", "q", "a"])
        writer.writerows([f"{number}.png", f"which {number}?", number] for number in range(4))
    data = {"path": "csv", "data_files": [str(rows)], "image_column": "picture",
            "question_column": "q", "answer_column": "a", "prompt": "Look: {question}",
            "dataset_dir": str(tmp_path / "cache")}  # fmt: skip
    found = read_samples(run_with(dataset=data, num_samples=3))
    assert len(found) == 3
    for place, number in enumerate(found.ids):
        sample = found[place]
        assert (sample.id, sample.answers) == (number, [str(number)])
        assert sample.question == f"Look: which {number}?"
        assert sample.image.size == (10 + number, 8)
    (tmp_path / "2.png").write_text("no image")
    with pytest.raises(InputError, match=r"dataset.image_column: row 2: no image can be read"):
        list(map(read_samples(run_with(dataset=data)).__getitem__, range(4)))


def test_rows_without_answers_and_empty_data_are_told(tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"question": "a", "answer": ["x", "y"]}\n{"question": "b", "answer": null}\n')
    data = {"path": "json", "data_files": [str(rows)], "dataset_dir": str(tmp_path / "cache")}
    found = read_samples(run_with(dataset=data))
    assert found[0].answers == ["x", "y"]
    with pytest.raises(InputError, match=r"answer_column: row 1 has no answer, but None"):
        found[1]
    rows.write_text('{"question": "a", "answer": ["", "y", null]}\n')
    assert read_samples(run_with(dataset=data))[0].answers == ["y"]
    rows.write_text("\n")
    with pytest.raises(InputError, match=r"dataset\.path json:"):
        read_samples(run_with(dataset=data))


def test_answers_of_a_csv_file_stay_as_they_are_written(tmp_path):
    rows = tmp_path / "rows.csv"
    rows.write_text("question,answer,options\n1.0,007,\"['a', 'b']\"\nNA,None,\n")
    data = {"path": "csv", "data_files": [str(rows)], "dataset_dir": str(tmp_path / "cache")}
    found = read_samples(run_with(dataset=data))
    told = [(found[place].question, found[place].answers) for place in range(2)]
    assert told == [("1.0", ["007"]), ("NA", ["None"])]
    with pytest.raises(InputError, match="choices_column: row 0 has no list of up to 26 choices"):
        read_samples(run_with(dataset=data | {"choices_column": "options"}))[0]


def batch(*ids):
    return {"samples": [{"id": number} for number in ids]}


def test_shards_are_exact_and_resume_with_any_number_of_ranks(tmp_path):
    ids = [3, 5, 8, 9, 11, 20]
    shares = [share_of(ids, {5}, rank, 2) for rank in range(2)]
    assert shares == [[0, 3, 5], [2, 4]]
    open_lines(tmp_path, "one")
    append_line(tmp_path, 0, batch(3, 5))
    with (tmp_path / "batches-0.jsonl").open("a") as file:
        file.write('{"samples": [{"id": 8')  # killed here
    append_line(tmp_path, 0, batch(9))
    append_line(tmp_path, 2, batch(20, 11))
    open_lines(tmp_path, "one")
    assert done_ids(read_lines(tmp_path)) == {3, 5, 9, 11, 20}
    with pytest.raises(InputError, match=r"missing \[8\]"):
        union(read_lines(tmp_path), ids)
    append_line(tmp_path, 1, batch(8))
    assert [sample["id"] for sample in union(read_lines(tmp_path), ids)] == ids
    append_line(tmp_path, 1, batch(3, 7))
    with pytest.raises(InputError, match=r"unknown \[7\]"):
        union(read_lines(tmp_path), ids)
    append_line(tmp_path, 1, {"samples": [{"id": 3, "prediction": "other"}]})
    with pytest.raises(InputError, match=r"twice \[3\]; unknown \[7\].*begin anew"):
        union(read_lines(tmp_path), ids)
    open_lines(tmp_path, "another checkpoint")
    assert read_lines(tmp_path) == []


def test_what_decides_importance():
    run = run_with(block_selection="importance", num_active_blocks=2,
                   importance={"num_samples": 10, "max_crops": 9}).model_dump()  # fmt: skip
    same = run | {"num_active_blocks": 3, "num_samples": 5, "batch_size": 1, "top_k": 2}
    assert importance_digest(same) == importance_digest(run)
    assert importance_digest(run | {"seed": 1}) != importance_digest(run)
