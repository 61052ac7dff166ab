"""Token files: one-dimensional `.npy` files of token ids, read by memory map.

No torch here: the Snakefile checks the files that a configuration names before any job starts.
"""

from collections.abc import Iterator
from pathlib import Path
from tokenize import TokenError

import numpy as np

from scripts.lib.results.files import atomic_path
from scripts.lib.runtime.embedded_text import embedded_text
from scripts.lib.schema.errors import InputError

CHUNK = 1 << 24
# Up to here a file is read through at the start; of larger ones each run checks what it reads.
CHECKED_BYTES = 1 << 30


def open_tokens(path: str | Path) -> np.ndarray:
    """Map the token ids in `path` into memory: shape (tokens,), an integer type, read-only.

    Raises InputError when the file is missing, no `.npy` file, not one-dimensional, empty, or not
    of an integer type.
    """
    try:
        tokens = np.lib.format.open_memmap(path, mode="r")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, SyntaxError, TokenError):  # what numpy raises for a garbled header
        raise InputError(
            f"{path}: is no whole .npy file of token ids (numpy.save writes one)"
        ) from None
    if tokens.ndim != 1 or not tokens.size:
        raise InputError(f"{path}: must have one dimension and an entry, but is {tokens.shape}")
    if tokens.dtype.kind not in "iu":
        raise InputError(f"{path}: must hold integers, but holds {tokens.dtype}")
    return tokens


def check_tokens(path: str | Path, vocab: int, context_length: int) -> None:
    """Raise InputError unless `path` can feed a model with this vocabulary and context."""
    tokens = open_tokens(path)
    _check_length(path, tokens, context_length)
    for chunk in _chunks(tokens):
        _check_ids(path, chunk, vocab)


def sample_batches(
    path: str | Path, vocab: int, batch_size: int, context_length: int, count: int, seed: int
) -> np.ndarray:
    """Draw `count` batches of sequences from random places of a token file.

    Returns int64 ids of shape (count, batch_size, context_length); the same seed draws the same.
    Raises InputError when the file is no token file, too short, or has ids outside [0, vocab).
    """
    tokens = open_tokens(path)
    _check_length(path, tokens, context_length)
    starts = np.random.default_rng(seed).integers(
        0, tokens.size - context_length + 1, size=(count, batch_size)
    )
    ids = tokens[starts[..., None] + np.arange(context_length)].astype(np.int64)
    _check_ids(path, ids, vocab)
    return ids


def write_embedded_tokens(path: str | Path, vocab: int) -> int:
    """Train a byte-level BPE of at most `vocab` entries on the embedded text and write its ids.

    Returns the number of tokens. The ids are uint16 where they fit, else uint32.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    text = embedded_text()
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(text.splitlines(keepends=True), trainer)
    ids = tokenizer.encode(text).ids
    with atomic_path(path) as temporary:
        np.save(temporary, np.asarray(ids, dtype=np.uint16 if vocab <= 1 << 16 else np.uint32))
    return len(ids)


def _chunks(tokens: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, min(tokens.size, CHECKED_BYTES // tokens.itemsize), CHUNK):
        yield tokens[start : start + CHUNK]


def _check_length(path: str | Path, tokens: np.ndarray, context_length: int) -> None:
    if tokens.size < context_length:
        raise InputError(
            f"{path}: has {tokens.size} tokens, fewer than context_length {context_length}"
        )


def _check_ids(path: str | Path, ids: np.ndarray, vocab: int) -> None:
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high >= vocab:
        wrong = low if low < 0 else high
        raise InputError(f"{path}: has token id {wrong}; vocab {vocab} allows 0 to {vocab - 1}")
