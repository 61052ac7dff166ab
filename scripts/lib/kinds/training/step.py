"""One step of a Llama-style decoder: model, optimiser and inputs of a run, ready to be timed."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel
from transformers.utils import is_flash_attn_2_available

from scripts.lib.kinds.training.config import TrainingRun
from scripts.lib.kinds.training.tokens import sample_batches
from scripts.lib.results.result import Effective
from scripts.lib.runtime.effective import dtype_name, effective_of_device, sdpa_backend

# Inputs rotate over this many batches, so that a cache is not what is measured.
NUM_BATCHES = 4
LEARNING_RATE = 1e-4

_WEIGHTS = {"bf16": torch.bfloat16, "fp16": torch.float16}
_AUTOCAST = {"bf16_mixed": torch.bfloat16, "fp16_mixed": torch.float16}


def build_model(run: TrainingRun, device: torch.device) -> PreTrainedModel:
    """Build the decoder of a run with random weights: RMSNorm, rotary positions, SwiGLU.

    Untied embeddings, no biases, no grouped heads; its parameter count is `count_parameters`.
    The weights are made on `device`, in the precision's type.
    """
    torch.manual_seed(run.seed)
    config = LlamaConfig(
        vocab_size=run.vocab,
        hidden_size=run.d_model,
        intermediate_size=run.d_ff,
        num_hidden_layers=run.num_layers,
        num_attention_heads=run.num_heads,
        num_key_value_heads=run.num_heads,
        max_position_embeddings=run.context_length,
        tie_word_embeddings=False,
        use_cache=False,
        bos_token_id=None,
        eos_token_id=None,
    )
    with device:
        model = AutoModelForCausalLM.from_config(
            config,
            attn_implementation=run.attn_implementation,
            dtype=_WEIGHTS.get(run.precision, torch.float32),
        )
    return model.to(device).train(not run.forward_only)


def autocast_of(run: TrainingRun, device: torch.device) -> AbstractContextManager:
    """Return torch's autocast for a mixed precision, or a context without effect."""
    dtype = _AUTOCAST.get(run.precision)
    return torch.autocast(device.type, dtype=dtype) if dtype else nullcontext()


class Step:
    """The parts of one step, to be called in order: `forward`, `backward`, `optimize`.

    Which of them belong to the step says the run's mode; `parts` lists them. Each call of
    `forward` takes the next of `NUM_BATCHES` batches.
    """

    def __init__(self, run: TrainingRun, batch_size: int, tokens: str | Path, device: torch.device):
        """Build model, optimiser and inputs; tokens are drawn from the file `tokens`.

        Raises InputError for a token file that does not fit the run.
        """
        ids = sample_batches(
            tokens, run.vocab, batch_size, run.context_length, NUM_BATCHES, run.seed
        )
        _set_matmul_precision(run)
        self.run, self.device = run, device
        self.model = self._callable = build_model(run, device)
        self.batches = torch.from_numpy(ids).to(device, copy=True)  # counted as memory, too
        self.optimizer = None
        if run.mode == "training_step":
            self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=LEARNING_RATE)
        self.scaler = torch.amp.GradScaler(
            device.type, enabled=run.precision == "fp16_mixed" and not run.forward_only
        )
        self.is_compiled = False
        self._next = 0
        self._loss: torch.Tensor | None = None

    def compile(self) -> None:
        """Run the model under torch.compile from now on."""
        self._callable = torch.compile(self.model)
        self.is_compiled = True

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts of this run's step, in order."""
        return {
            "forward": ("forward",),
            "forward_backward": ("forward", "backward"),
            "training_step": ("forward", "backward", "optimizer"),
        }[self.run.mode]

    def forward(self) -> None:
        """Compute logits without gradients (`mode: forward`), or the next-token loss."""
        ids = self.batches[self._next]
        self._next = (self._next + 1) % len(self.batches)
        with autocast_of(self.run, self.device):
            if self.run.forward_only:
                with torch.no_grad():
                    self._callable(input_ids=ids)
            else:
                self._loss = self._callable(input_ids=ids, labels=ids).loss

    def backward(self) -> None:
        """Compute gradients of the last loss."""
        self.scaler.scale(self._loss).backward()
        self._loss = None

    def optimize(self) -> None:
        """Update the weights."""
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def zero_grad(self) -> None:
        """Drop the gradients, so that the next backward pass allocates and does not add."""
        self.model.zero_grad(set_to_none=True)

    def whole(self) -> None:
        """Run one step of the run's mode; gradients are dropped at its end."""
        self.forward()
        if not self.run.forward_only:
            self.backward()
        if self.optimizer is not None:
            self.optimize()
        self.zero_grad()


def effective(step: Step, batch_size: int) -> Effective:
    """Return what the steps run with, read from the live model."""
    weights = next(step.model.parameters()).dtype
    autocast = _AUTOCAST.get(step.run.precision)
    return effective_of_device(step.device).model_copy(
        update={
            "precision": step.run.precision,
            "weights_dtype": dtype_name(weights),
            "autocast_dtype": autocast and dtype_name(autocast),
            "attn_implementation": step.model.config._attn_implementation,
            "attention_backend": _attention_backend(step, batch_size),
            "compile": step.is_compiled,
            "batch_size": batch_size,
        }
    )


def _attention_backend(step: Step, batch_size: int) -> str | None:
    """Kernel that sdpa chooses for the eager step: full sequences pass no mask and are causal."""
    config = step.model.config
    if config._attn_implementation != "sdpa" or step.is_compiled:
        return None
    dtype = _AUTOCAST.get(step.run.precision, next(step.model.parameters()).dtype)
    heads = config.num_attention_heads
    shape = (batch_size, heads, step.run.context_length, config.hidden_size // heads)
    return sdpa_backend(shape, dtype, step.device, needs_grad=not step.run.forward_only)


def unsupported_reason(run: TrainingRun, device: torch.device) -> str:
    """Why this device cannot do what the run asks for; empty if nothing is known against it."""
    cuda = device.type == "cuda"
    if run.precision == "tf32" and not (
        cuda and torch.cuda.get_device_capability(device) >= (8, 0)
    ):
        return "precision tf32 needs a CUDA device of compute capability 8.0 or above"
    if cuda and run.precision.startswith("bf16") and not torch.cuda.is_bf16_supported():
        return f"precision {run.precision} is not supported by this CUDA device"
    if run.attn_implementation == "flex_attention" and not cuda:
        return "attn_implementation flex_attention is measured on CUDA devices only"
    if run.attn_implementation == "flash_attention_2":
        if not cuda:
            return "attn_implementation flash_attention_2 needs a CUDA device"
        if not is_flash_attn_2_available():
            return "attn_implementation flash_attention_2 needs the package flash-attn"
        if run.precision in ("fp32", "tf32"):
            return "attn_implementation flash_attention_2 needs a 16-bit precision"
    return ""


def _set_matmul_precision(run: TrainingRun) -> None:
    torch.set_float32_matmul_precision("high" if run.precision == "tf32" else "highest")
