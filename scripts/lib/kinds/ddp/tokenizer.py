"""Turn texts into ids: a tokenizer of the hub, a folder, a vocabulary, or one trained here."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scripts.lib.schema.errors import InputError

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
CHUNK = 8192


@dataclass
class Encoder:
    """A tokenizer: `encode` gives the ids of texts, special tokens included, not cut off."""

    encode: Any
    vocab_size: int
    pad_id: int


def open_tokenizer(name: str, trust_remote_code: bool = False) -> Encoder:
    """Open a tokenizer: a WordPiece `vocab.txt`, a folder, or a name on the hub.

    Raises InputError with one line when it cannot be opened.
    """
    path = Path(name)
    if path.suffix == ".txt":
        if not path.is_file():
            raise InputError(f"tokenizer: {name}: no such file")
        return _wordpiece_of(path)
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=trust_remote_code)
    except Exception as error:  # files, hub and formats have errors of their own
        raise InputError(f"tokenizer: {name}: {' '.join(str(error).split())[:300]}") from None
    pad = tokenizer.pad_token_id
    pad = pad if pad is not None else tokenizer.eos_token_id
    return Encoder(
        lambda texts: tokenizer(texts, add_special_tokens=True)["input_ids"],
        len(tokenizer),
        pad if pad is not None else 0,
    )


def train_tokenizer(texts: list[str], vocab: int) -> Encoder:
    """Train a WordPiece vocabulary of at most `vocab` entries on texts, in lower case.

    The same texts give the same entries and ids. Left alone the trainer numbers the letters within
    words in an order that is new in each process, and decides by their numbers between pairs that
    are equally frequent; so they are handed to it, sorted, as if they were special.
    """
    from tokenizers import Tokenizer, models, trainers

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    _like_bert(tokenizer)
    words = (
        word
        for text in texts
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(
            tokenizer.normalizer.normalize_str(text)
        )
    )
    inner = sorted({f"##{letter}" for word in words for letter in word[1:]})
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab, special_tokens=[*SPECIAL, *inner], show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    learnt = sorted(tokenizer.get_vocab().keys() - set(SPECIAL))
    entries = {entry: number for number, entry in enumerate([*SPECIAL, *learnt])}
    tokenizer = Tokenizer(models.WordPiece(entries, unk_token="[UNK]"))
    _like_bert(tokenizer)
    return _encoder(tokenizer)


def encode_all(encoder: Encoder, texts: list[str]) -> Iterator[np.ndarray]:
    """Yield the ids of each text, an integer array of at least one id."""
    for start in range(0, len(texts), CHUNK):
        for ids in encoder.encode(texts[start : start + CHUNK]):
            yield np.asarray(ids or [encoder.pad_id])


def _wordpiece_of(path: Path) -> Encoder:
    from tokenizers import Tokenizer, models

    try:
        tokenizer = Tokenizer(models.WordPiece.from_file(str(path), unk_token="[UNK]"))
    except Exception as error:
        raise InputError(f"tokenizer: {path}: {error}") from None
    if missing := [token for token in SPECIAL[:4] if tokenizer.token_to_id(token) is None]:
        raise InputError(f"tokenizer: {path}: has no {missing[0]}; one entry a line is expected")
    _like_bert(tokenizer)
    return _encoder(tokenizer)


def _like_bert(tokenizer: Any) -> None:
    from tokenizers import normalizers, pre_tokenizers

    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()


def _encoder(tokenizer: Any) -> Encoder:
    from tokenizers.processors import TemplateProcessing

    ids = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ids)
    return Encoder(
        lambda texts: [encoding.ids for encoding in tokenizer.encode_batch(texts)],
        tokenizer.get_vocab_size(),
        tokenizer.token_to_id("[PAD]"),
    )
