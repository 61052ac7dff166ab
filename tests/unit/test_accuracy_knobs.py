"""Knobs on tiny random models of many families: they change logits, and leave nothing behind."""

import copy
import dataclasses
import itertools
import re

import numpy as np
import pytest
import torch
from PIL import Image

from scripts.lib.kinds.accuracy.evaluation import generate, logits_of
from scripts.lib.kinds.accuracy.flops import flops_per_sample, work_of
from scripts.lib.kinds.accuracy.knobs.base import turned
from scripts.lib.kinds.accuracy.knobs.blocks import chosen_blocks
from scripts.lib.kinds.accuracy.knobs.pixels import collate
from scripts.lib.runtime.outcomes import Unsupported
from tests.unit.accuracy_models import BLOCKS, text_model, vision_model

CPU = torch.device("cpu")
MIXTURES = ["qwen3_moe", "mixtral", "olmoe", "granitemoe", "gpt_oss", "deepseek_v3"]
OLDER = ["gpt2", "gptj", "gpt_neo", "bloom", "falcon"]
SEEING = ["internvl", "idefics3", "smolvlm", "llava_next", "qwen3_vl_moe"]


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def image(loaded, seed=0, fine=False):
    # Families that count pixels need many for several crops.
    counts_pixels = "Qwen2VL" in type(loaded.pixels.processor).__name__
    side = (200 if fine else 40) if counts_pixels else 90
    noise = np.random.default_rng(seed).integers(0, 256, (side, side * 3 // 2, 3))
    return Image.fromarray(noise.astype(np.uint8))


def some(loaded):
    """Inputs of two samples of different length."""
    if not loaded.pixels.sees:
        return [loaded.pixels.encode(None, text) for text in ("a b c d e", "c d e")]
    return [loaded.pixels.encode(image(loaded, i), text) for i, text in enumerate(("a b", "c d e"))]


def model_of(family):
    return vision_model(family) if family in SEEING else text_model(family)


@pytest.mark.parametrize("family", [*MIXTURES, *SEEING])
def test_knobs_change_logits_and_leave_nothing_behind(family):
    loaded = model_of(family)
    inputs = some(loaded)

    def logits():
        return logits_of(loaded, inputs, CPU)

    own, work = logits(), work_of(loaded)
    for knob, value in ((loaded.top_k, 1), (loaded.blocks, [0, 2, 3])):
        with turned([(knob, value)], logits):
            assert not torch.equal(logits(), own)
            assert not knob.is_own()
            less = work_of(loaded)
            assert less.num_active_parameters < work.num_active_parameters
            assert flops_per_sample(less, 9, 3, 4, 4) < flops_per_sample(work, 9, 3, 4, 4)
        assert torch.equal(logits(), own)
        assert knob.is_own()
    own_values = [(loaded.top_k, loaded.top_k.own), (loaded.blocks, range(BLOCKS))]
    with turned(own_values, logits):
        assert torch.equal(logits(), own)
    assert work_of(loaded) == work


@pytest.mark.parametrize("family", OLDER)
def test_a_decoder_with_blocks_named_h_is_one_built_without_them(family):
    loaded = text_model(family)
    inputs, work = some(loaded), work_of(loaded)
    own = logits_of(loaded, inputs, CPU)
    kept = [0, 2, 3]
    config = copy.deepcopy(loaded.model.config)
    config.num_hidden_layers = len(kept)
    small = type(loaded.model)(config).eval()
    weights = {
        re.sub(r"\.h\.(\d+)\.", lambda n: f".h.{kept.index(int(n[1]))}.", name): weight
        for name, weight in loaded.model.state_dict().items()
        if ".h.1." not in name
    }
    small.load_state_dict(weights)
    with turned([(loaded.blocks, kept)], lambda: logits_of(loaded, inputs, CPU)):
        expected = logits_of(dataclasses.replace(loaded, model=small), inputs, CPU)
        assert torch.equal(logits_of(loaded, inputs, CPU), expected)
        less = work_of(loaded)
        assert (less.blocks, work.blocks) == (3, BLOCKS)
        assert less.num_active_parameters < work.num_active_parameters
    assert torch.equal(logits_of(loaded, inputs, CPU), own)
    assert loaded.model.config.num_hidden_layers == BLOCKS
    assert work_of(loaded) == work


@pytest.mark.parametrize("family", ["llama", *OLDER, *MIXTURES, *SEEING])
def test_generation_with_and_without_a_cache_agrees_with_blocks_removed(family):
    loaded = model_of(family)
    inputs = collate(some(loaded), loaded.pad_id)
    options = {"output_logits": True, "return_dict_in_generate": True}
    found = {}
    for kept in ([0, 2, 3], range(BLOCKS)):
        loaded.blocks.apply(kept)
        for cached in (True, False):
            with torch.inference_mode():
                told = loaded.model.generate(
                    **inputs, max_new_tokens=4, do_sample=False, use_cache=cached,
                    eos_token_id=None, pad_token_id=0, **options,
                )  # fmt: skip
            found[len(kept), cached] = torch.stack(told.logits)
        torch.testing.assert_close(
            found[len(kept), True], found[len(kept), False], atol=2e-4, rtol=1e-3
        )
        loaded.blocks.restore()
    assert not torch.allclose(found[3, True], found[BLOCKS, True])


@pytest.mark.parametrize("family", SEEING)
def test_crops_follow_the_knob_and_what_came_out_is_told(family):
    loaded = vision_model(family)
    picture = image(loaded, fine=True)
    own = loaded.pixels.encode(picture, "a b")
    found = []
    for value in (1, 2, 4, 6):
        loaded.pixels.apply(value)
        encoded = loaded.pixels.encode(picture, "a b")
        assert 1 <= encoded.crops <= value
        logits_of(loaded, [encoded], CPU)  # as many places as the vision tower has features
        found.append((encoded.crops, encoded.vision_tokens, encoded.patches, encoded.digest))
    assert found[0][0] == 1
    assert [tokens for _, tokens, _, _ in found] == sorted(tokens for _, tokens, _, _ in found)
    assert found[3][2] > found[0][2]
    for one, other in itertools.pairwise(found):
        assert (one[0] == other[0]) == (one[3] == other[3])  # the same crops are the same inputs
    loaded.pixels.restore()
    assert loaded.pixels.encode(picture, "a b").digest == own.digest


@pytest.mark.parametrize("family", [*SEEING, "olmoe"])
def test_padding_on_the_left_changes_no_answer(family):
    loaded = model_of(family)
    samples = some(loaded)
    alone = [generate(loaded, collate([one], 0), CPU, 4, eos_token_id=None) for one in samples]
    together = generate(loaded, collate(samples, 0), CPU, 4, eos_token_id=None)
    assert torch.equal(torch.cat(alone), together)


def test_a_knob_that_a_model_lacks_or_ignores_is_unsupported():
    phi, llama = text_model("phimoe"), text_model("llama")
    inputs = some(phi)
    with (
        pytest.raises(Unsupported, match="top_k: 1 changes nothing"),
        turned([(phi.top_k, 1)], lambda: logits_of(phi, inputs, CPU)),
    ):
        pass
    assert phi.top_k.is_own()
    with pytest.raises(Unsupported, match="no routed experts"):
        llama.top_k.apply(1)
    with pytest.raises(Unsupported, match="sees no images"):
        llama.pixels.apply(1)
    with pytest.raises(Unsupported, match="top_k: 9 is out of range; the model has 8 experts"):
        phi.top_k.apply(9)
    with pytest.raises(Unsupported, match=r"blocks \[0, 4\] are out of range; the model has 4"):
        phi.blocks.apply([4, 0])


def test_blocks_are_nested_whatever_selects_them():
    for selection, ranking in (("prefix", []), ("importance", [2, 0, 3, 1]), ([3, 1, 0, 2], [])):
        kept = [set(chosen_blocks(n, selection, 4, ranking)) for n in (1, 2, 3, 4)]
        assert all(few < more for few, more in itertools.pairwise(kept))
    assert chosen_blocks(2, "importance", 4, [2, 0, 3, 1]) == [0, 2]
    assert chosen_blocks(None, None, 4, []) == [0, 1, 2, 3]
    for count, selection, message in (
        (5, "prefix", "5 is out of range"),
        (3, [0, 1], "3 of the blocks"),
    ):
        with pytest.raises(Unsupported, match=message):
            chosen_blocks(count, selection, 4, [])
