"""The embedded vision-language model: built, trained on digits, saved in transformers' format."""

import csv
import json
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLVisionConfig,
    PreTrainedTokenizerFast,
    Qwen3MoeConfig,
)
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import (
    GotOcr2ImageProcessorPil,
    get_optimal_tiled_canvas,
)

from scripts.lib.kinds.accuracy.digits import (
    NUMBERS,
    SIDE,
    TASKS,
    answers,
    compose,
    digits,
    grids,
    question,
    split,
)
from scripts.lib.kinds.accuracy.knobs.blocks import active_blocks
from scripts.lib.kinds.accuracy.measurement import EmbeddedVlm
from scripts.lib.results.files import atomic_path, write_text
from scripts.lib.runtime.progress import progress

log = logging.getLogger(__name__)
PAD, BOS, EOS, IMAGE = "<pad>", "<s>", "</s>", "<image>"
WORDS = [PAD, BOS, EOS, IMAGE, *map(str, range(10)), *TASKS, *NUMBERS, "by", ":"]
IDS = {word: number for number, word in enumerate(WORDS)}
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}" + IMAGE + "{% else %} {{ part['text'] }}{% endif %}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %} :{% endif %}"
)
PATCH = 4  # pixels; four patches of a tile become one token
# Shares of the steps: only `read` with all crops, then all tasks with all crops, then the knobs.
READ_SHARE, WARM_SHARE = 0.25, 0.35
CHECKS = 12  # points of the curve at which held-out accuracy is taken
CHECKED_IMAGES = 96
CURVE, TRAINING = "training.csv", "training.json"


@dataclass
class Batch:
    """Images as tiles, float of shape (tiles, 3, 8, 8); prompts and answers, int64 ids."""

    pixels: torch.Tensor
    prompts: torch.Tensor
    answers: torch.Tensor


def build(settings: EmbeddedVlm) -> InternVLForConditionalGeneration:
    """Build the model with random weights of the settings' seed."""
    torch.manual_seed(settings.seed)
    text = Qwen3MoeConfig(
        vocab_size=len(WORDS),
        hidden_size=settings.d_model,
        intermediate_size=2 * settings.d_model,
        num_hidden_layers=settings.num_layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=settings.d_model // 4,
        num_experts=settings.num_experts,
        num_experts_per_tok=settings.top_k,
        moe_intermediate_size=settings.moe_d_ff,
        norm_topk_prob=False,
        max_position_embeddings=512,
        pad_token_id=IDS[PAD],
        bos_token_id=IDS[BOS],
        eos_token_id=IDS[EOS],
        initializer_range=0.06,
        rope_parameters={"rope_type": "default", "rope_theta": 1000.0},
    )
    vision = InternVLVisionConfig(
        hidden_size=settings.vision_d_model,
        num_hidden_layers=settings.vision_layers,
        num_attention_heads=4,
        intermediate_size=2 * settings.vision_d_model,
        image_size=(SIDE, SIDE),
        patch_size=(PATCH, PATCH),
        layer_scale_init_value=1.0,
        initializer_range=0.06,
    )
    config = InternVLConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=IDS[IMAGE],
        image_seq_length=1,
        downsample_ratio=0.5,
        tie_word_embeddings=False,
    )
    return InternVLForConditionalGeneration(config)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Build a tokenizer that knows a word a token."""
    words = Tokenizer(models.WordLevel(IDS, unk_token=PAD))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        padding_side="left",
        chat_template=CHAT_TEMPLATE,
        extra_special_tokens={"context_image_token": IMAGE},
    )


def build_image_processor(settings: EmbeddedVlm) -> GotOcr2ImageProcessorPil:
    """Build the image processor: tiles of one digit, and the whole image beside them."""
    return GotOcr2ImageProcessorPil(
        size={"height": SIDE, "width": SIDE},
        crop_to_patches=True,
        min_patches=1,
        max_patches=settings.max_grid**2,
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )


def train(settings: EmbeddedVlm, folder: Path) -> dict[str, Any]:
    """Train the model and write checkpoint, tokenizer, image processor and curve into a folder.

    One thread: more are slower for so small a model, and one makes the same model from the same
    settings. Returns what is written to `training.json`, last of all files.
    """
    torch.set_num_threads(1)
    start, cpu = time.perf_counter(), time.process_time()
    model, generator = build(settings), np.random.default_rng(settings.seed)
    with progress("training steps", settings.vision_steps + settings.steps) as advance:
        curve = []
        for phase in (_train_vision, _train_whole):
            for row in phase(model, settings, generator):
                curve.append(row | {"cpu_seconds": round(time.process_time() - cpu, 2)})
                advance()
    folder.mkdir(parents=True, exist_ok=True)
    model.eval().save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    build_image_processor(settings).save_pretrained(folder)
    _write_curve(folder / CURVE, curve)
    found = {
        "settings": settings.model_dump(),
        "parameters": sum(p.numel() for p in model.parameters()),
        "seconds": round(time.perf_counter() - start, 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
        "final_loss": curve[-1]["loss"],
        "digit_accuracy": curve[-1]["accuracy"],
        "digit_accuracy_one_crop": curve[-1]["accuracy_one_crop"],
    }
    write_text(folder / TRAINING, json.dumps(found, indent=1) + "\n")
    return found


def _train_vision(
    model: InternVLForConditionalGeneration, settings: EmbeddedVlm, generator: np.random.Generator
) -> Iterator[dict[str, Any]]:
    """Teach the vision tower single digits, as every real one begins with a trained tower."""
    parts = [model.model.vision_tower, model.model.multi_modal_projector]
    head = torch.nn.Linear(settings.d_model, 10)
    weights = [p for part in (*parts, head) for p in part.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=2e-3, weight_decay=0.05)
    images, values = digits()
    for step in range(settings.vision_steps):
        chosen = generator.choice(split()[0], 2 * settings.train_batch_size)
        pixels = images[chosen]
        if step % 2:
            pixels = np.roll(pixels, generator.integers(-1, 2, 2), (1, 2))
        features = model.model.get_image_features(pixel_values=_pixels(pixels)).pooler_output
        loss = F.cross_entropy(
            head(features.reshape(len(chosen), -1)), torch.from_numpy(values[chosen])
        )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        yield _row("vision", step, loss.item())


def _train_whole(
    model: InternVLForConditionalGeneration, settings: EmbeddedVlm, generator: np.random.Generator
) -> Iterator[dict[str, Any]]:
    """Teach the whole model, first the plain task with all crops, then everything."""
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, betas=(0.9, 0.98), weight_decay=0.02
    )
    every = max(1, settings.steps // CHECKS)
    most = settings.max_grid**2
    crops = sorted({1, 2, 4, 6, most} & set(range(1, most + 1)))
    model.train()
    for step in range(settings.steps):
        done = step / settings.steps
        rate = min(1, (step + 1) / 60) * (0.485 * (1 + math.cos(math.pi * done)) + 0.03)
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * rate
        kept, count = settings.num_layers, most
        if done >= WARM_SHARE:
            count = int(generator.choice([*crops, most]))
            if settings.num_layers > 2 and generator.random() < settings.shallow_share:
                kept = int(generator.integers(2, settings.num_layers))
        tasks = TASKS[:1] if done < READ_SHARE else TASKS
        batch = _draw(settings, generator, count, tasks, split()[0], settings.train_batch_size)
        with active_blocks(model, range(kept)):
            logits = _answer_logits(model, batch)
        loss = F.cross_entropy(logits.flatten(0, 1), batch.answers.flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        row = _row("whole", step, loss.item())
        left = settings.steps - step - 1
        if left == 0 or ((step + 1) % every == 0 and left > every / 2):
            row["accuracy"], row["accuracy_one_crop"] = _check(model, settings)
        yield row


@torch.no_grad()
def _check(model: InternVLForConditionalGeneration, settings: EmbeddedVlm) -> tuple[float, float]:
    """Share of held-out digits that are right, given the ones before: all crops, one crop."""
    model.eval()
    shares = []
    for count in (settings.max_grid**2, 1):
        generator, right, total = np.random.default_rng(settings.seed), 0, 0
        for _ in range(4):
            batch = _draw(settings, generator, count, TASKS, split()[1], CHECKED_IMAGES // 4)
            correct = (_answer_logits(model, batch).argmax(-1) == batch.answers)[:, :-1]
            right, total = right + int(correct.sum()), total + correct.numel()
        shares.append(right / total)
    model.train()
    return shares[0], shares[1]


def _draw(
    settings: EmbeddedVlm,
    generator: np.random.Generator,
    max_crops: int,
    tasks: tuple[str, ...],
    pool: np.ndarray,
    count: int,
) -> Batch:
    """Draw images of one layout, so that no row needs padding."""
    layouts = grids(settings.max_grid)
    rows, columns = layouts[generator.integers(len(layouts))]
    task = tasks[generator.integers(len(tasks))]
    chosen = generator.choice(pool, (count, rows, columns))
    pixels = _tiles(compose(chosen), max_crops)
    words = [*question(task, rows, columns).split(), ":"]
    prompt = [IDS[BOS], *[IDS[IMAGE]] * pixels.shape[1], *(IDS[word] for word in words)]
    values = answers(task, digits()[1][chosen].reshape(count, -1))
    ended = np.pad(values + IDS["0"], ((0, 0), (0, 1)), constant_values=IDS[EOS])
    return Batch(
        pixels.flatten(0, 1), torch.tensor(prompt).repeat(count, 1), torch.from_numpy(ended)
    )


def _answer_logits(model: InternVLForConditionalGeneration, batch: Batch) -> torch.Tensor:
    """Logits of shape (images, tokens of the answer, words), given the tokens before."""
    ids = torch.cat([batch.prompts, batch.answers], 1)
    found = model(
        input_ids=ids,
        pixel_values=batch.pixels,
        attention_mask=torch.ones_like(ids),
        logits_to_keep=batch.answers.shape[1] + 1,
    )
    return found.logits[:, :-1]


def _tiles(images: np.ndarray, max_crops: int) -> torch.Tensor:
    """Cut images as the image processor does: float of shape (images, tiles, 3, 8, 8).

    The resizing is torch's, which for bicubic with antialias is Pillow's but for rounding, and
    takes a batch at once.
    """
    height, width = images.shape[1:]
    columns, rows = get_optimal_tiled_canvas((height, width), (SIDE, SIDE), 1, max_crops)
    whole = torch.from_numpy(images).float()[:, None]
    tiles = _resized(whole, rows * SIDE, columns * SIDE)
    tiles = tiles.view(-1, rows, SIDE, columns, SIDE).permute(0, 1, 3, 2, 4)
    tiles = tiles.reshape(len(images), rows * columns, SIDE, SIDE)
    if rows * columns > 1:
        tiles = torch.cat([tiles, _resized(whole, SIDE, SIDE)], 1)
    return _normalised(tiles)


def _resized(images: torch.Tensor, height: int, width: int) -> torch.Tensor:
    if images.shape[-2:] == (height, width):
        return images
    return F.interpolate(images, (height, width), mode="bicubic", antialias=True).clamp(0, 255)


def _pixels(images: np.ndarray) -> torch.Tensor:
    return _normalised(torch.from_numpy(images).float())


def _normalised(images: torch.Tensor) -> torch.Tensor:
    """Grey values in 0 to 255 as three channels in -1 to 1."""
    return (images / 127.5 - 1)[..., None, :, :].expand(*images.shape[:-2], 3, -1, -1)


def _row(phase: str, step: int, loss: float) -> dict[str, Any]:
    return {"phase": phase, "step": step, "loss": round(loss, 5), "accuracy": None,
            "accuracy_one_crop": None}  # fmt: skip


def _write_curve(path: Path, rows: list[dict[str, Any]]) -> None:
    with atomic_path(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
