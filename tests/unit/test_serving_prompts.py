"""Prompts have exactly their length, whatever the tokenizer puts before a text."""

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from scripts.lib.kinds.inference.prompts import count_tokens, make_prompts
from scripts.lib.schema.errors import InputError

WORDS = ["the", "house", "tree", "river", "stone", "cloud"]


def prepending(*before: str) -> Tokenizer:
    """A tokenizer like Llama 2's: a blank before the text, blanks are letters, a begin token."""
    vocabulary = ["<unk>", "<s>", "▁", *WORDS, *(f"▁{word}" for word in WORDS), *before]
    scores = [(token, -1.0 - len(token) * 0.01) for token in vocabulary]
    tokenizer = Tokenizer(models.Unigram(scores, unk_id=0, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    return tokenizer


@pytest.mark.parametrize("before", [[], ["▁▁"], ["▁▁the", "▁▁house"]])
def test_a_blank_before_the_text_is_counted(before):
    tokenizer = prepending(*before)
    assert all(count > 1 for count in count_tokens(tokenizer, [f" {word}" for word in WORDS[2:]]))
    prompts = make_prompts(tokenizer, 50, 64, 0.5, seed=1)
    assert all(len(tokenizer.encode(prompt.text).ids) == prompt.tokens for prompt in prompts)
    assert all(32 <= prompt.tokens <= 64 for prompt in prompts)
    assert len({prompt.text for prompt in prompts}) == 50
    assert prompts == make_prompts(tokenizer, 50, 64, 0.5, seed=1)


def test_a_tokenizer_without_words_is_a_reason():
    letters = Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
    letters.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    with pytest.raises(InputError, match="no words of one token"):
        make_prompts(letters, 1, 8, 1.0, seed=0)


def test_a_tokenizer_that_cannot_read_a_text_is_a_reason():
    broken = Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="[UNK]"))
    with pytest.raises(InputError, match="the tokenizer cannot read a text: WordLevel error"):
        make_prompts(broken, 1, 8, 1.0, seed=0)
