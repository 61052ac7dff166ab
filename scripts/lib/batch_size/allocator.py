"""Make glibc's allocator take the same memory for the same workload in every process.

Pinned: blocks of 64 KiB and more are mapped and unmapped one by one, and all threads share one
arena. Unpinned its thresholds move with what was freed before, and with them, from start to start,
the largest batch within a limit of the system.
"""

import ctypes

# Environment variables; they are read when a process starts.
PINNED_ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "MALLOC_ARENA_MAX": "1",
    "PYTHONHASHSEED": "0",  # the order of sets decides what an import leaves in the heap
}
# Sizes of the blocks that fill the heap, the largest below the threshold of mapping.
_BLOCKS = (32_768, 8_192, 2_048, 512)


def fill_heap() -> None:
    """Take all free blocks of the heap for good, so that small blocks, too, grow the process.

    How much is free when a process begins differs from start to start, and what fits into it would
    escape a limit. The end of the heap tells when a block found no place (sbrk, Linux only).
    """
    libc = ctypes.CDLL(None)
    libc.sbrk.restype, libc.sbrk.argtypes = ctypes.c_void_p, [ctypes.c_ssize_t]
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    for block in _BLOCKS:
        end = libc.sbrk(0)
        while libc.sbrk(0) == end:
            libc.malloc(block)
