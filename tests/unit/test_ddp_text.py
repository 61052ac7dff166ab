"""Texts are read in every form, and what is wrong with them is said in one line."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ddp_ranks import ddp_run

from scripts.lib.kinds.ddp.cache import open_text, write_text_cache
from scripts.lib.kinds.ddp.config import TextData, text_digest
from scripts.lib.kinds.ddp.data import read_corpus
from scripts.lib.kinds.ddp.docstrings import docstrings
from scripts.lib.kinds.ddp.files import problems_of
from scripts.lib.schema.errors import InputError
from tests.conftest import ROOT

_DATA = Path(os.environ.get("SWEEPMAKE_TEST_DATA", ROOT.parent / "shared/data")) / "sst2"
needs_sst2 = pytest.mark.skipif(
    not _DATA.is_dir(), reason=f"SST-2 is not at {_DATA} (SWEEPMAKE_TEST_DATA)"
)
ROWS = [(f"word{i} " * (i % 7 + 1), i % 3) for i in range(40)]
FRAME = pd.DataFrame(ROWS, columns=["sentence", "label"])


def write(folder, name, frame=FRAME, **changes):
    """Write a frame in the format that a name says, and name it as a data set."""
    path = folder / name
    frame = frame.copy()
    form = {".tsv": "csv", ".jsonl": "json"}.get(path.suffix, path.suffix[1:])
    if form == "csv":
        frame.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    elif form == "json":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_parquet(path)
    settings = {"path": form, "data_files": [str(path)], "dataset_dir": str(folder / "cache")}
    return TextData.model_validate(settings | changes)


@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv", "rows.jsonl", "rows.parquet"])
def test_files_of_every_format_give_the_same(name, tmp_path):
    corpus = read_corpus(write(tmp_path, name), labelled=True)
    assert corpus.num_labels == 3
    rows = zip(
        corpus.train.texts + corpus.evaluation.texts,
        np.concatenate([corpus.train.labels, corpus.evaluation.labels]),
        strict=True,
    )
    assert sorted((text, int(label)) for text, label in rows) == sorted(ROWS)
    assert len(corpus.evaluation.texts) == 2


def test_words_of_a_csv_file_stay_as_they_are_written(tmp_path):
    words = ["None", "NA", "null", "007", "1.50", "nan", "true"] * 3
    frame = pd.DataFrame({"sentence": words, "label": [0, 1, 0] * 7})
    corpus = read_corpus(write(tmp_path, "rows.csv", frame), labelled=True)
    assert sorted(corpus.train.texts + corpus.evaluation.texts) == sorted(words)


def test_what_has_no_effect_is_refused(tmp_path):
    for changes in ({"split": "test"}, {"eval_split": "dev"}):
        with pytest.raises(ValueError, match="has no effect with path: csv"):
            write(tmp_path, "rows.csv", **changes)
    with pytest.raises(ValueError, match="has no effect with path: embedded"):
        TextData(text_column="sentence")


def test_labels_may_be_texts_and_evaluation_a_file_of_its_own(tmp_path):
    frame = FRAME.assign(label=FRAME["label"].map({0: "no", 1: "maybe", 2: "yes"}))
    write(tmp_path, "eval.csv", frame[:5])
    data = write(tmp_path, "rows.csv", frame, eval_files=[str(tmp_path / "eval.csv")])
    corpus = read_corpus(data, labelled=True)
    assert corpus.train.labels[:3].tolist() == [1, 0, 2]  # in the order of the alphabet
    assert (len(corpus.train.texts), len(corpus.evaluation.texts)) == (40, 5)


@pytest.mark.parametrize("texts_in", ["rows.csv", "eval.csv"])
def test_labels_are_of_one_kind_in_both_files(texts_in, tmp_path):
    named = FRAME.assign(label=FRAME["label"].map({0: "no", 1: "maybe", 2: "yes"}))
    frames = {name: named if name == texts_in else FRAME for name in ("rows.csv", "eval.csv")}
    write(tmp_path, "eval.csv", frames["eval.csv"])
    data = write(tmp_path, "rows.csv", frames["rows.csv"], eval_files=[str(tmp_path / "eval.csv")])
    with pytest.raises(InputError, match=r"'label' has .* in the training data and"):
        read_corpus(data, labelled=True)


def test_a_language_model_needs_no_label(tmp_path):
    corpus = read_corpus(write(tmp_path, "rows.csv", FRAME[["sentence"]]), labelled=False)
    assert len(corpus.train.texts) == 38


@pytest.mark.parametrize(
    ("frame", "changes", "message"),
    [
        (FRAME, {"text_column": "text"}, "text_column: no column 'text'; the data has: sentence, label"),
        (FRAME, {"label_column": "y"}, "label_column: no column 'y'; the data has: sentence, label"),
        (FRAME.rename(columns={"label": "y"}), {}, "label_column: none of the columns label; the data has: sentence, y"),
        (FRAME[:0], {}, "has no rows"),
        (FRAME, {"num_labels": 2}, "row 2 of the training data has the label 2; allowed: 0 to 1"),
        (FRAME.assign(label=FRAME["label"] - 1), {}, "row 0 of the training data has the label -1"),
        (FRAME.assign(label=0.5), {}, "row 0 of 'label' is no whole number but 0.5"),
        (FRAME.assign(sentence=""), {}, "row 0 of 'sentence' is no text but None"),
        (FRAME.assign(label=[None, *[1] * 39]), {}, "row 0 of 'label' is no whole number but None"),
        (FRAME[:1], {}, "1 rows are too few to train on"),
    ],
)  # fmt: skip
def test_bad_data_is_refused_in_one_line(frame, changes, message, tmp_path):
    with pytest.raises(InputError) as caught:
        read_corpus(write(tmp_path, "rows.csv", frame, **changes), labelled=True)
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_files_are_refused_before_any_job(tmp_path):
    data = write(tmp_path, "rows.csv", text_column="txt")
    assert problems_of(data, labelled=True) == [
        "text_column: no column 'txt'; the data has: sentence, label"
    ]
    (tmp_path / "rows.csv").write_text("")
    assert "is empty" in problems_of(data, labelled=True)[0]
    (tmp_path / "rows.csv").unlink()
    assert "no such file" in problems_of(data, labelled=True)[0]


@pytest.mark.parametrize(
    ("tokenizer", "message"),
    [("nothing.txt", "no such file"), ("./nowhere", "./nowhere"), ("bad.txt", "has no [PAD]")],
)
def test_a_tokenizer_that_cannot_be_opened_is_told(tokenizer, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("bad.txt").write_text("word\n[UNK]\n")
    with pytest.raises(InputError, match="tokenizer") as caught:
        write_text_cache(ddp_run(tokenizer=tokenizer), tmp_path)
    assert message in str(caught.value)
    with pytest.raises(InputError, match="holds no tokenised text"):
        open_text(tmp_path)


def test_docstrings_vary_in_length_and_have_both_labels():
    texts, labels = docstrings()
    assert len(texts) > 1000
    words = np.array([len(text.split()) for text in texts])
    assert np.percentile(words, 90) > 3 * np.percentile(words, 50)
    assert 0.05 < np.mean(labels) < 0.95


def test_runs_share_a_text_unless_it_differs():
    run = ddp_run().model_dump()
    assert text_digest(run) == text_digest(run | {"max_length": 8, "ranks": 1})
    assert text_digest(run) != text_digest(run | {"vocab": 400})
    assert text_digest(run) != text_digest(run | {"task": "causal_lm"})


@needs_sst2
def test_sst2_has_the_lengths_that_are_known_of_it(tmp_path):
    data = {
        "path": "csv",
        "data_files": [str(_DATA / "train.tsv")],
        "eval_files": [str(_DATA / "dev.tsv")],
        "dataset_dir": str(tmp_path / "cache"),
    }
    run = ddp_run(dataset=data, tokenizer=str(_DATA / "bert-base-uncased-vocab.txt"))
    write_text_cache(run, tmp_path)
    text = open_text(tmp_path)
    lengths = text.train.lengths(256)
    assert (len(text.train), len(text.evaluation)) == (67_349, 872)
    assert lengths.mean() == pytest.approx(13.3, abs=0.05)
    assert [int(np.percentile(lengths, q)) for q in (50, 90, 99, 100)] == [10, 27, 44, 66]


TRAINED = """
import hashlib, json
from scripts.lib.kinds.ddp.docstrings import docstrings
from scripts.lib.kinds.ddp.tokenizer import train_tokenizer
texts = docstrings()[0][:2000]
print(hashlib.sha256(json.dumps(train_tokenizer(texts, 2000).encode(texts)).encode()).hexdigest())
"""


def test_the_same_text_has_the_same_tokens_in_every_process():
    told = {
        subprocess.run(
            [sys.executable, "-c", TRAINED], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        for _ in range(3)
    }
    assert len(told) == 1
