"""Bandwidths of collectives as nccl-tests defines them, and the line of time over size.

Source: doc/PERFORMANCE.md of NVIDIA's nccl-tests; for send_recv its src/sendrecv.cu.
`algorithm_bandwidth` is size over time; times a factor of the operation and the number of ranks it
is the `bus_bandwidth`, which can be compared with the speed of the links whatever the number of
ranks.
"""

from collections.abc import Sequence

import numpy as np

MIB = 1 << 20


def bus_factor(operation: str, ranks: int) -> float:
    """Return bus bandwidth over algorithm bandwidth.

    1 for the copies of a single rank, where the formulas of nccl-tests give 0 for reductions and
    all_gather.
    """
    if ranks == 1:
        return 1.0
    if operation == "all_reduce":
        return 2 * (ranks - 1) / ranks
    if operation in ("all_gather", "reduce_scatter"):
        return (ranks - 1) / ranks
    return 1.0


def bandwidths(
    operation: str, ranks: int, message_bytes: int, time_us: float
) -> tuple[float, float]:
    """Return algorithm and bus bandwidth in GB/s (1e9 bytes) of one operation."""
    algorithm = message_bytes / time_us / 1000
    return algorithm, algorithm * bus_factor(operation, ranks)


def fit_line(sizes: Sequence[int], times_us: Sequence[float]) -> tuple[float, float, float] | None:
    """Fit time = alpha + beta n; returns alpha (us), beta (us per MiB) and the relative error.

    Least squares of relative errors, so that a small message counts as much as a large one; both
    coefficients at least 0. The error is the root mean square over the sizes. None with one size.
    """
    if len(sizes) < 2:
        return None
    from scipy.optimize import nnls

    x, y = np.asarray(sizes, dtype=float) / MIB, np.asarray(times_us, dtype=float)
    weighted = np.stack([1 / y, x / y], axis=1)
    (alpha, beta), _ = nnls(weighted, np.ones(len(y)))
    errors = weighted @ [alpha, beta] - 1
    return float(alpha), float(beta), float(np.sqrt(np.mean(errors**2)))
