"""Settings of glibc's allocator under which the same workload takes the same memory.

Pinned: blocks of 64 KiB and more are mapped and unmapped one by one, and all threads share one
arena. Unpinned its thresholds move with what was freed before, and with them, from start to start,
the largest batch within a limit of the system.
"""

# Environment variables; glibc reads them when a process starts.
PINNED_ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "MALLOC_ARENA_MAX": "1",
}
