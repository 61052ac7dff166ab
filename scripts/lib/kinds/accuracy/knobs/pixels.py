"""The knob `max_crops`: how many crops of an image the model sees, family by family.

A family's adapter encodes one sample at a time, so that what a sample is made of depends on nothing
but the sample, and `collate` pads samples on the left to a batch. No processor that wants
torchvision is needed: where a family's does, for its videos, tokenizer and image processor are
taken by themselves and the image's place in the text is widened here.
"""

import hashlib
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from PIL.Image import Image

from scripts.lib.kinds.accuracy.knobs.base import Knob
from scripts.lib.runtime.outcomes import Unsupported

# Tokens of a crop in families that count pixels, as many as a crop of InternVL has.
TOKENS_PER_CROP = 256
# Inputs with a place for each token; the rest are images.
PADDED = ("input_ids", "attention_mask", "mm_token_type_ids", "token_type_ids")


@dataclass
class Encoded:
    """Inputs of one sample, each with a first dimension of 1 or of its crops.

    `crops` are pieces of the image beside its overview, at least 1 with an image;
    `vision_tokens` places of the prompt; `patches` what the vision tower sees, and
    `patches_per_image` how many of them attend to one another.
    """

    inputs: dict[str, torch.Tensor]
    crops: int = 0
    vision_tokens: int = 0
    patches: int = 0
    patches_per_image: int = 0

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt."""
        return self.inputs["input_ids"].shape[1]

    @property
    def digest(self) -> str:
        """8 hex digits of everything the model is given."""
        told = hashlib.sha256()
        for name, value in sorted(self.inputs.items()):
            told.update(f"{name}{tuple(value.shape)}".encode())
            told.update(value.contiguous().numpy().tobytes())
        return told.hexdigest()[:8]


class Pixels(Knob):
    """Text without images: what models that see nothing are given."""

    name = "max_crops"
    families: ClassVar[tuple[str, ...]] = ()
    sees: ClassVar[bool] = False

    def __init__(self, config: Any, tokenizer: Any, processor: Any):
        """Take the parts of a checkpoint: its configuration and what prepares its inputs."""
        self.config, self.tokenizer, self.processor = config, tokenizer, processor
        self.value = self.own

    def apply(self, value: int) -> None:
        """Cut images into at most `value` crops from now on."""
        raise Unsupported("max_crops: the model sees no images")

    def restore(self) -> None:
        """Cut images as the checkpoint says."""
        self.value = self.own

    def describe(self) -> dict[str, Any]:
        """The largest number of crops, and what does the cutting."""
        return {"max_crops": self.value, "processor": type(self.processor).__name__}

    def encode(self, image: Image | None, question: str) -> Encoded:
        """Encode a sample."""
        found = self._tokenized(self.prompt(question, image is not None))
        return Encoded(found)

    def prompt(self, question: str, with_image: bool) -> str:
        """Put a question into the words of the model's chat template, where it has one."""
        owner = next(
            (part for part in (self.processor, self.tokenizer)
             if getattr(part, "chat_template", None)), None
        )  # fmt: skip
        if owner is None:
            return (self.image_token + "\n" if with_image else "") + question
        text = [{"type": "text", "text": question}]
        content = [{"type": "image"}, *text] if with_image else text
        if not self.sees:
            content = question
        messages = [{"role": "user", "content": content}]
        return owner.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)

    @property
    def image_token(self) -> str:
        """Text that stands for an image."""
        return ""

    @property
    def image_token_id(self) -> int | None:
        """Token of a place of an image."""
        for name in ("image_token_id", "image_token_index"):
            if getattr(self.config, name, None) is not None:
                return getattr(self.config, name)
        return None

    def _tokenized(self, prompt: str) -> dict[str, torch.Tensor]:
        # The template writes the first token itself.
        special = getattr(self.tokenizer, "bos_token", None)
        begun = bool(special) and prompt.startswith(special)
        found = self.tokenizer(prompt, return_tensors="pt", add_special_tokens=not begun)
        return {name: found[name] for name in ("input_ids", "attention_mask")}

    def _places(self, inputs: dict[str, torch.Tensor]) -> int:
        return int((inputs["input_ids"] == self.image_token_id).sum())

    def _vision_patches(self, height: int, width: int) -> int:
        size = self.config.vision_config.patch_size
        rows, columns = size if isinstance(size, list | tuple) else (size, size)
        return (height // rows) * (width // columns)


class AnyPixels(Pixels):
    """A family without an adapter: images as its processor makes them; the knob is unsupported."""

    sees = True

    def apply(self, value: int) -> None:
        """Refuse: how this family cuts images is not known."""
        known = ", ".join(sorted(family for kind in FAMILIES for family in kind.families))
        raise Unsupported(
            f"max_crops: not known for models of type {self.config.model_type}; known: {known}"
        )

    @property
    def image_token(self) -> str:
        """Text that stands for an image."""
        return getattr(self.processor, "image_token", None) or "<image>"

    def encode(self, image: Image | None, question: str) -> Encoded:
        """Encode a sample with the processor."""
        if image is None:
            return super().encode(image, question)
        return self._measured(self._processed(image, question))

    def _processed(self, image: Image, question: str, **options: Any) -> dict[str, torch.Tensor]:
        prompt = self.prompt(question, with_image=True)
        options |= {"return_tensors": "pt"}
        return dict(self.processor(images=[image], text=[prompt], **options))

    def _measured(self, inputs: dict[str, torch.Tensor]) -> Encoded:
        """Count crops and patches of tiles: shape (1, tiles, 3, height, width) or without the 1."""
        pixels = inputs["pixel_values"]
        tiles = pixels.shape[-4] if pixels.dim() >= 4 else 1
        each = self._vision_patches(*pixels.shape[-2:])
        crops = tiles - 1 if tiles > 1 else 1
        return Encoded(inputs, crops, self._places(inputs), tiles * each, each)


class ImageProcessorOnly(AnyPixels):
    """Families whose whole processor wants torchvision: the prompt is widened here."""

    @property
    def image_token(self) -> str:
        """Text that stands for a place of an image."""
        return self.tokenizer.convert_ids_to_tokens(self.config.image_token_id)

    def apply(self, value: int) -> None:
        """Cut images into at most `value` crops; `encode` follows it."""
        self.value = value

    def _widened(
        self, question: str, places: int, begin: str = "", end: str = ""
    ) -> dict[str, torch.Tensor]:
        """Tokens of a question whose image has so many places."""
        prompt = self.prompt(question, with_image=True)
        if prompt.count(self.image_token) != 1:  # a template that leaves images out
            prompt = f"{self.image_token}\n{question}"
        image = begin + self.image_token * places + end
        return self._tokenized(prompt.replace(self.image_token, image))


class InternVL(ImageProcessorOnly):
    """InternVL: up to `max_patches` tiles in the layout nearest to the image, and the overview."""

    families = ("internvl",)

    def __init__(self, config: Any, tokenizer: Any, processor: Any):
        """`processor` is the image processor alone."""
        self.own = getattr(processor, "max_patches", None)
        super().__init__(config, tokenizer, processor)

    def encode(self, image: Image | None, question: str) -> Encoded:
        """Encode a sample; a token of the prompt becomes one for each place of the image."""
        if image is None:
            return super().encode(image, question)
        found = self.processor(
            [image], crop_to_patches=True, max_patches=self.value, return_tensors="pt"
        )
        pixels = found["pixel_values"]
        places = len(pixels) * self.config.image_seq_length
        begin, end = (getattr(self.tokenizer, name, None) or ""
                      for name in ("start_image_token", "end_image_token"))  # fmt: skip
        inputs = self._widened(question, places, begin, end)
        return self._measured(inputs | {"pixel_values": pixels})


class Idefics3(AnyPixels):
    """Idefics3 and SmolVLM: a grid of squares as fine as the longer side of the image says."""

    families = ("idefics3", "smolvlm")

    def __init__(self, config: Any, tokenizer: Any, processor: Any):
        """A side of the checkpoint's own grid: longest edge of `size` over that of a square."""
        images = processor.image_processor
        self.edge = images.max_image_size["longest_edge"]
        self.own = max(1, images.size["longest_edge"] // self.edge) ** 2
        super().__init__(config, tokenizer, processor)

    def apply(self, value: int) -> None:
        """Cut images into at most `value` squares."""
        self.value = value

    def encode(self, image: Image | None, question: str) -> Encoded:
        """Encode a sample with as many squares along its longer side as the number allows."""
        if image is None:
            return super().encode(image, question)
        share = min(image.size) / max(image.size)
        most = math.isqrt(self.own) if self.value == self.own else self.value
        side = max(
            (n for n in range(1, most + 1) if n * math.ceil(n * share - 1e-9) <= self.value),
            default=1,
        )
        options = {"size": {"longest_edge": side * self.edge}, "do_image_splitting": side > 1}
        return self._measured(self._processed(image, question, **options))


class LlavaNext(AnyPixels):
    """LLaVA-NeXT: the best of a list of canvases (`image_grid_pinpoints`), and the overview."""

    families = ("llava_next",)

    def __init__(self, config: Any, tokenizer: Any, processor: Any):
        """Canvases stand both in the image processor and in the configuration."""
        size = processor.image_processor.size
        self.edge = size.get("shortest_edge") or size["height"]
        self.canvases = [list(canvas) for canvas in config.image_grid_pinpoints]
        self.own = max(self._tiles(canvas) for canvas in self.canvases)
        super().__init__(config, tokenizer, processor)

    def apply(self, value: int) -> None:
        """Allow only canvases of at most `value` tiles; above the checkpoint's, all such grids."""
        canvases = [canvas for canvas in self.canvases if self._tiles(canvas) <= value]
        if value > self.own:
            canvases = [[r * self.edge, c * self.edge] for r in range(1, value + 1)
                        for c in range(1, value // r + 1)]  # fmt: skip
        self._set(canvases or [[self.edge, self.edge]])
        self.value = value

    def restore(self) -> None:
        """Allow the checkpoint's canvases again."""
        self._set(self.canvases)
        super().restore()

    def encode(self, image: Image | None, question: str) -> Encoded:
        """Encode a sample."""
        return super().encode(image, question)

    def _tiles(self, canvas: list[int]) -> int:
        return (canvas[0] // self.edge) * (canvas[1] // self.edge)

    def _set(self, canvases: list[list[int]]) -> None:
        self.processor.image_processor.image_grid_pinpoints = canvases
        self.config.image_grid_pinpoints = canvases


class QwenVL(ImageProcessorOnly):
    """Qwen-VL: images at their own size, up to a number of pixels; 256 tokens count as a crop."""

    families = ("qwen3_vl_moe", "qwen3_vl", "qwen2_5_vl", "qwen2_vl")

    def __init__(self, config: Any, tokenizer: Any, processor: Any):
        """`processor` is the image processor alone."""
        self.side = processor.patch_size * processor.merge_size
        self.most = dict(processor.size)
        self.own = max(1, self.most["longest_edge"] // (TOKENS_PER_CROP * self.side**2))
        super().__init__(config, tokenizer, processor)

    def encode(self, image: Image | None, question: str) -> Encoded:
        """Encode a sample; a token of the prompt becomes one for each place of the image."""
        if image is None:
            return super().encode(image, question)
        longest = self.most["longest_edge"]
        if self.value != self.own:
            longest = self.value * TOKENS_PER_CROP * self.side**2
        size = {"shortest_edge": min(self.most["shortest_edge"], longest), "longest_edge": longest}
        found = self.processor([image], size=size, return_tensors="pt")
        grid = found["image_grid_thw"]
        patches = int(grid.prod())
        places = patches // self.processor.merge_size**2
        inputs = self._widened(question, places)
        inputs["mm_token_type_ids"] = (inputs["input_ids"] == self.image_token_id).long()
        inputs |= {"pixel_values": found["pixel_values"], "image_grid_thw": grid}
        crops = max(1, math.ceil(places / TOKENS_PER_CROP))
        return Encoded(inputs, crops, places, patches, patches)


FAMILIES: tuple[type[AnyPixels], ...] = (InternVL, Idefics3, LlavaNext, QwenVL)
# Their processors want torchvision for videos; the image processor is taken alone.
IMAGE_PROCESSORS = {
    "internvl": "GotOcr2ImageProcessorPil",
    **dict.fromkeys(QwenVL.families, "Qwen2VLImageProcessorPil"),
}


def pixels_of(config: Any, tokenizer: Any, processor: Any) -> Pixels:
    """Return the adapter of a checkpoint: that of its family, or one that only passes images on."""
    if processor is None:
        return Pixels(config, tokenizer, None)
    kind = next((kind for kind in FAMILIES if config.model_type in kind.families), AnyPixels)
    return kind(config, tokenizer, processor)


def collate(samples: list[Encoded], pad_id: int) -> dict[str, torch.Tensor]:
    """Pad samples on the left to a batch, and put their images together.

    Tiles in a dimension of their own (shape (1, tiles, ...)) are filled up with empty ones, others
    (shape (tiles, ...)) follow one another.
    """
    longest = max(sample.prompt_tokens for sample in samples)
    batch = {}
    for name in dict.fromkeys(name for sample in samples for name in sample.inputs):
        values = [sample.inputs[name] for sample in samples if name in sample.inputs]
        if name in PADDED:
            fill = pad_id if name == "input_ids" else 0
            batch[name] = torch.cat([_left(value, longest, fill) for value in values])
        elif values[0].dim() == 5 or name == "pixel_attention_mask":
            most = max(value.shape[1] for value in values)
            batch[name] = torch.cat([_filled(value, most) for value in values])
        else:
            batch[name] = torch.cat(values)
    return batch


def _left(ids: torch.Tensor, length: int, fill: int) -> torch.Tensor:
    return torch.nn.functional.pad(ids, (length - ids.shape[1], 0), value=fill)


def _filled(tiles: torch.Tensor, count: int) -> torch.Tensor:
    empty = tiles.new_zeros((1, count - tiles.shape[1], *tiles.shape[2:]))
    return torch.cat([tiles, empty], 1)
