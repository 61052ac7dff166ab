"""Token files are checked for what a run needs of them."""

import numpy as np
import pytest

from scripts.lib.kinds.training.tokens import (
    check_tokens,
    embedded_text,
    open_tokens,
    sample_batches,
)
from scripts.lib.schema.errors import InputError


def test_the_embedded_text_is_enough_for_the_longest_context(tokens):
    assert len(embedded_text()) > 100_000
    ids = open_tokens(tokens)
    assert ids.size > 4096
    assert ids.max() < 512
    check_tokens(tokens, 512, 2048)


def test_batches_are_slices_of_the_file_drawn_by_the_seed(tmp_path):
    path = tmp_path / "t.npy"
    np.save(path, np.arange(1000, dtype=np.uint16))
    one = sample_batches(path, 1000, 3, 8, count=2, seed=1)
    assert one.shape == (2, 3, 8)
    assert one.dtype == np.int64
    assert (np.diff(one, axis=-1) == 1).all()
    assert (one == sample_batches(path, 1000, 3, 8, count=2, seed=1)).all()
    assert (one != sample_batches(path, 1000, 3, 8, count=2, seed=2)).any()


BAD = {
    "floats": (np.ones(100), "must hold integers, but holds float64"),
    "two dimensions": (np.ones((10, 10), dtype=np.int32), "must have one dimension"),
    "nothing": (np.ones(0, dtype=np.int32), "must have one dimension and an entry"),
    "an id above the vocabulary": (np.arange(101), "has token id 100; vocab 100 allows 0 to 99"),
    "a negative id": (np.arange(-1, 50), "has token id -1"),
    "too few tokens": (np.arange(5), "has 5 tokens, fewer than context_length 16"),
    "objects": (np.array([{}], dtype=object), "is no whole .npy file"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_token_files_are_told(tmp_path, case):
    array, expected = BAD[case]
    path = tmp_path / "t.npy"
    np.save(path, array, allow_pickle=True)
    with pytest.raises(InputError, match=expected) as told:
        check_tokens(path, 100, 16)
    assert len(told.value.problems) == 1


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", b"PK\x03\x04", b"\x93NUMPY\x01\x00\x04\x00((((", b"\x93NUMPY\x01\x00v\x00{"],
)
def test_other_files_are_told(tmp_path, content):
    path = tmp_path / "t.npy"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"t\.npy"):
        open_tokens(path)
    with pytest.raises(InputError, match="cannot be read"):
        open_tokens(tmp_path / "missing.npy")
