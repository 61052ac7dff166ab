"""Concurrencies of a search-space item: a geometric range or a list."""


def geometric(start: int, end: int, factor: int) -> list[int]:
    """Return `start`, `start * factor`, ... below `end`, and always `end` itself.

    >>> geometric(4, 100, 2)
    [4, 8, 16, 32, 64, 100]

    Raises ValueError where the range would never reach its end or has none.
    """
    if start < 1 or factor < 2 or end < start:
        raise ValueError(f"no geometric range: start {start}, end {end}, factor {factor}")
    values = []
    conc = start
    while conc < end:
        values.append(conc)
        conc *= factor
    return [*values, end]
