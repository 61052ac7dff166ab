"""Prompts of an exact number of tokens, by the server's own tokenizer, the same for a seed."""

import random
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Encoding, Tokenizer

from scripts.lib.schema.errors import InputError

MAX_CANDIDATES = 4096
ATTEMPTS = 20


@dataclass(frozen=True)
class Prompt:
    """What a request asks: `text` of `tokens` tokens, special ones that the server adds counted."""

    text: str
    tokens: int


def load_tokenizer(name: str) -> Tokenizer:
    """Tokenizer of a folder, or of a model on the hub, in any form that transformers reads.

    Those without `tokenizer.json` (`vocab.json` with `merges.txt`, `tokenizer.model`, tiktoken) are
    converted by transformers. Raises InputError where that fails, and for tokenizers that are code
    of the model's own, which is never run.
    """
    path = Path(name)
    try:
        if Path(path, "tokenizer.json").is_file():
            return Tokenizer.from_file(str(path / "tokenizer.json"))
        if not path.is_dir():
            with suppress(Exception):  # the library raises bare exceptions
                return Tokenizer.from_pretrained(name)
        return _converted(name)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"tokenizer of {name!r}: cannot be loaded: {reason}") from None


def _converted(name: str) -> Tokenizer:
    from transformers import AutoTokenizer  # imports torch, which others need not wait for

    loaded = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    tokenizer = getattr(loaded, "backend_tokenizer", None)
    if not isinstance(tokenizer, Tokenizer):
        raise ValueError(f"{type(loaded).__name__} has no form that the library `tokenizers` reads")
    return tokenizer


def make_prompts(
    tokenizer: Tokenizer, count: int, isl: int, random_range_ratio: float, seed: int | str
) -> list[Prompt]:
    """Draw `count` prompts with lengths between `random_range_ratio * isl` and `isl` tokens.

    Every prompt is different text, so that no server answers from a cache of prefixes. Raises
    InputError when the tokenizer allows no text of an exact length, or cannot read one.
    """
    draw = random.Random(seed)
    words = _words(tokenizer, draw)
    shortest = max(1, round(random_range_ratio * isl))
    return [_prompt(tokenizer, words, draw.randint(shortest, isl), draw) for _ in range(count)]


def count_tokens(tokenizer: Tokenizer, texts: list[str]) -> list[int]:
    """Tokens of texts, without special ones. Raises InputError when one cannot be read."""
    return [len(found.ids) for found in _encode(tokenizer, texts, special=False)]


def _encode(tokenizer: Tokenizer, texts: list[str], special: bool) -> list[Encoding]:
    try:
        return tokenizer.encode_batch(texts, add_special_tokens=special)
    except Exception as error:  # the library raises bare exceptions
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"the tokenizer cannot read a text: {reason}") from None


def _words(tokenizer: Tokenizer, draw: random.Random) -> list[str]:
    """Texts that begin with a blank and are one token each in a row of them.

    At the start of a text one may be more: normalisers put a blank of their own before it.
    """
    ids = list(range(tokenizer.get_vocab_size()))
    draw.shuffle(ids)
    words = []
    for token in ids:
        text = " " + tokenizer.decode([token]).strip()
        if text[1:].isascii() and text[1:].isalpha():
            once, twice = count_tokens(tokenizer, [text, text + text])
            if twice - once == 1:
                words.append(text)
        if len(words) == MAX_CANDIDATES:
            break
    if len(words) < 2:
        raise InputError("the tokenizer has no words of one token to make prompts of")
    return words


def _prompt(tokenizer: Tokenizer, words: list[str], length: int, draw: random.Random) -> Prompt:
    chosen = draw.choices(words, k=length)
    for _ in range(ATTEMPTS):
        text = "".join(chosen)
        found = len(_encode(tokenizer, [text], special=True)[0].ids)
        if found == length:
            return Prompt(text, length)
        if found > length:  # special tokens count, too, and a blank before the text
            chosen = chosen[: max(1, len(chosen) - (found - length))]
        else:
            chosen += draw.choices(words, k=length - found)
    raise InputError(f"the tokenizer allows no prompt of exactly {length} tokens")
