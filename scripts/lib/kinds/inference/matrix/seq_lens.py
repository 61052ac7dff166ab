"""Sequence lengths that have a name: input and output tokens of a request."""

SEQ_LENS = {"1k1k": (1024, 1024), "1k8k": (1024, 8192), "8k1k": (8192, 1024)}

_NAMES = {lengths: name for name, lengths in SEQ_LENS.items()}


def seq_lens_name(isl: int, osl: int) -> str:
    """Name of a pair of lengths in tokens: `1k8k`, or `2048_512` where the pair has none."""
    return _NAMES.get((isl, osl), f"{isl}_{osl}")
