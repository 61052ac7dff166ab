"""Load a checkpoint in transformers' format: the embedded one, a folder, or one of the hub."""

import hashlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from scripts.lib.kinds.accuracy.config import AccuracyRun
from scripts.lib.kinds.accuracy.files import problems_of_model
from scripts.lib.kinds.accuracy.knobs.blocks import ActiveBlocks, decoder_of
from scripts.lib.kinds.accuracy.knobs.pixels import IMAGE_PROCESSORS, Pixels, pixels_of
from scripts.lib.kinds.accuracy.knobs.top_k import TopK
from scripts.lib.kinds.accuracy.measurement import EMBEDDED
from scripts.lib.runtime.memory import is_out_of_memory
from scripts.lib.schema.errors import InputError

# More threads of a rank are slower for small models.
NUM_THREADS = 1
log = logging.getLogger(__name__)
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
PRECISIONS = {dtype: name for name, dtype in DTYPES.items()}


@dataclass
class Loaded:
    """A model with its knobs, ready to generate."""

    model: nn.Module
    tokenizer: Any
    pixels: Pixels
    top_k: TopK
    blocks: ActiveBlocks

    @property
    def pad_id(self) -> int:
        """Token that fills up batches."""
        pad = self.tokenizer.pad_token_id
        return pad if pad is not None else self.tokenizer.eos_token_id or 0

    @property
    def experts_implementation(self) -> str | None:
        """How transformers computes the experts; None without any."""
        if self.top_k.own is None:
            return None
        return getattr(self.blocks.decoder.config, "_experts_implementation", None)

    @property
    def attn_implementation(self) -> str | None:
        """How transformers computes attention in the decoder."""
        return getattr(self.blocks.decoder.config, "_attn_implementation", None)


def load(run: AccuracyRun, checkpoint: str | Path | None, device: torch.device) -> Loaded:
    """Load the model of a run; `checkpoint` is the folder of the embedded one.

    Raises InputError with one line where there is no checkpoint that transformers can load.
    """
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    import transformers

    transformers.utils.logging.disable_progress_bar()
    if device.type == "cpu":
        torch.set_num_threads(NUM_THREADS)
    source, config = source_of(run, checkpoint)
    own_code = {"trust_remote_code": run.trust_remote_code}
    try:
        sees = type(config) in transformers.AutoModelForImageTextToText._model_mapping
        kind = (transformers.AutoModelForImageTextToText if sees
                else transformers.AutoModelForCausalLM)  # fmt: skip
        model = kind.from_pretrained(source, dtype=DTYPES[_precision(run, device)], **own_code)
        tokenizer = transformers.AutoTokenizer.from_pretrained(source, **own_code)
        processor = _processor(source, config, own_code) if sees else None
    except Exception as error:  # every kind of broken checkpoint has errors of its own
        if is_out_of_memory(error):
            raise
        raise _no_checkpoint(source, error) from None
    tokenizer.padding_side = "left"
    pixels = pixels_of(model.config, tokenizer, processor)
    if pixels.image_token is None:  # transformers makes an empty tokenizer where files are missing
        raise _no_checkpoint(source, ValueError("its tokenizer knows no token for images"))
    model = _owned(model.to(device).eval())
    _choose_experts(model, run.experts_implementation)
    return Loaded(model, tokenizer, pixels, TopK(model), ActiveBlocks(model))


def source_of(run: AccuracyRun, checkpoint: str | Path | None) -> tuple[str, Any]:
    """Where the model of a run is, and its configuration. Raises InputError without one."""
    import transformers

    if run.model == EMBEDDED and checkpoint is None:
        raise InputError("--checkpoint: required with model: embedded")
    source = str(checkpoint) if run.model == EMBEDDED else run.model
    if problems := problems_of_model(source):
        raise InputError(*problems)
    try:
        return source, transformers.AutoConfig.from_pretrained(
            source, trust_remote_code=run.trust_remote_code
        )
    except Exception as error:
        raise _no_checkpoint(source, error) from None


def identity_of(run: AccuracyRun, checkpoint: str | Path | None) -> str:
    """Text that changes with the checkpoint: its commit on the hub, or a digest of its files."""
    return _identity(*source_of(run, checkpoint))


def _precision(run: AccuracyRun, device: torch.device) -> str:
    if run.precision == "auto":
        return "bf16" if device.type == "cuda" else "fp32"
    return run.precision


def _processor(source: str, config: Any, own_code: dict[str, bool]) -> Any:
    """Load what prepares images: a whole processor, or an image processor (see `pixels`)."""
    import transformers

    if name := IMAGE_PROCESSORS.get(config.model_type):
        return getattr(transformers, name).from_pretrained(source)
    return transformers.AutoProcessor.from_pretrained(source, **own_code)


def _owned(model: nn.Module) -> nn.Module:
    """Give weights memory of their own: those mapped from a file count towards no budget."""
    if model.device.type == "cpu":
        for parameter in model.parameters():
            parameter.data = parameter.data.clone()
    return model


def _choose_experts(model: nn.Module, implementation: str) -> None:
    if implementation == "auto":
        return
    try:
        # The decoder's: a vision-language model refuses, having no experts outside it.
        decoder_of(model).set_experts_implementation(implementation)
    except (AttributeError, ValueError) as error:
        raise InputError(f"experts_implementation: {implementation}: {_line(error)}") from None


def _identity(source: str, config: Any) -> str:
    folder = Path(source)
    if not folder.is_dir():
        return str(getattr(config, "_commit_hash", None) or source)
    told = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in (".safetensors", ".bin", ".json") and path.name != "training.json":
            state = path.stat()
            told.update(f"{path.name} {state.st_size}".encode())
            if state.st_size < 1 << 26:
                told.update(path.read_bytes())
            else:  # reading them again would take as long as loading
                told.update(str(state.st_mtime_ns).encode())
    return told.hexdigest()[:16]


def _no_checkpoint(source: str, error: Exception) -> InputError:
    return InputError(
        f"model: {source}: is no checkpoint that transformers can load: {_line(error)}"
    )


def _line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:240]
