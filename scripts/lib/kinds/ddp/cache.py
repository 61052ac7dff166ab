"""Tokenised text on disk: written once, read by memory map by every rank.

A folder holds `train-ids.npy`, `train-offsets.npy`, `train-labels.npy`, the same for `eval`, and
`meta.json`, which is written last and without which the rest counts as nothing.
"""

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scripts.lib.kinds.ddp.config import DdpRun
from scripts.lib.kinds.ddp.data import Texts, read_corpus
from scripts.lib.kinds.ddp.tokenizer import Encoder, encode_all, open_tokenizer, train_tokenizer
from scripts.lib.results.files import atomic_path, write_text
from scripts.lib.schema.errors import InputError

log = logging.getLogger(__name__)
META = "meta.json"
DIGESTED_TOKENS = 1 << 24


@dataclass(frozen=True)
class Samples:
    """Token ids of samples, flat, with the place where each begins, and their labels.

    `ids` has the shape (tokens,), `offsets` (samples + 1,), `labels` (samples,).
    """

    ids: np.ndarray
    offsets: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        """Count the samples."""
        return len(self.labels)

    def lengths(self, max_length: int) -> np.ndarray:
        """Tokens of each sample, cut off at `max_length`; int64, shape (samples,)."""
        return np.minimum(np.diff(self.offsets), max_length)

    def batch(
        self, rows: np.ndarray, max_length: int, pad_id: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pad some samples to their longest.

        Returns ids and mask of shape (rows, longest) and labels of shape (rows,), all int64.
        """
        starts = self.offsets[rows]
        lengths = np.minimum(self.offsets[rows + 1] - starts, max_length)
        ids = np.full((len(rows), int(lengths.max())), pad_id, dtype=np.int64)
        mask = np.arange(ids.shape[1]) < lengths[:, None]
        for row, (start, length) in enumerate(zip(starts, lengths, strict=True)):
            ids[row, :length] = self.ids[start : start + length]
        return ids, mask.astype(np.int64), self.labels[rows]


@dataclass(frozen=True)
class TokenisedText:
    """Samples to train and evaluate on, and what a model must know of them."""

    train: Samples
    evaluation: Samples
    vocab_size: int
    pad_id: int
    num_labels: int

    def longest(self, max_length: int) -> int:
        """Tokens of the longest sample, cut off at `max_length`."""
        return int(self.train.lengths(max_length).max())

    @property
    def digest(self) -> str:
        """8 hex digits of what training rests on: lengths, labels, and up to so many tokens."""
        told = hashlib.sha256(f"{self.vocab_size} {self.pad_id} {self.num_labels}".encode())
        for part in (self.train.offsets, self.train.labels, self.train.ids[:DIGESTED_TOKENS]):
            told.update(np.ascontiguousarray(part))
        return told.hexdigest()[:8]


def write_text_cache(run: DdpRun, folder: str | Path) -> dict[str, int]:
    """Read and tokenise the text of a run into `folder`; returns what `meta.json` holds.

    Raises InputError for text or a tokenizer that cannot be read.
    """
    folder = Path(folder)
    corpus = read_corpus(run.dataset, run.task == "sequence_classification", run.trust_remote_code)
    encoder = _encoder_of(run, corpus.train.texts)
    for name, texts in (("train", corpus.train), ("eval", corpus.evaluation)):
        _write(folder, name, texts, encoder)
    meta = {
        "vocab_size": encoder.vocab_size,
        "pad_id": encoder.pad_id,
        "num_labels": corpus.num_labels,
        "train_samples": len(corpus.train.texts),
        "eval_samples": len(corpus.evaluation.texts),
    }
    write_text(folder / META, json.dumps(meta) + "\n")
    return meta


def open_text(folder: str | Path) -> TokenisedText:
    """Map a tokenised text into memory. Raises InputError when `folder` holds none."""
    folder = Path(folder)
    try:
        meta = json.loads((folder / META).read_text())
        train, evaluation = (_open(folder, name) for name in ("train", "eval"))
        return TokenisedText(
            train, evaluation, meta["vocab_size"], meta["pad_id"], meta["num_labels"]
        )
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{folder}: holds no tokenised text: {error}") from None


def random_samples(count: int, length: int, text: TokenisedText) -> Samples:
    """Samples of one length with random ids and labels, for a model of `text`."""
    generator = np.random.default_rng(0)
    return Samples(
        generator.integers(0, text.vocab_size, count * length),
        np.arange(count + 1) * length,
        generator.integers(0, text.num_labels, count),
    )


def _encoder_of(run: DdpRun, texts: list[str]) -> Encoder:
    name = run.tokenizer or (None if run.size else run.model)
    if name is None:
        return train_tokenizer(texts, run.vocab)
    return open_tokenizer(name, run.trust_remote_code)


def _write(folder: Path, name: str, texts: Texts, encoder: Encoder) -> None:
    pieces = list(encode_all(encoder, texts.texts))
    dtype = np.uint16 if encoder.vocab_size <= 1 << 16 else np.uint32
    arrays = {
        "ids": np.concatenate(pieces).astype(dtype),
        "offsets": np.concatenate([[0], np.cumsum([len(ids) for ids in pieces])]),
        "labels": texts.labels,
    }
    for part, values in arrays.items():
        with atomic_path(folder / f"{name}-{part}.npy") as temporary:
            np.save(temporary, values)


def _open(folder: Path, name: str) -> Samples:
    parts = ("ids", "offsets", "labels")
    return Samples(*(np.load(folder / f"{name}-{part}.npy", mmap_mode="r") for part in parts))
