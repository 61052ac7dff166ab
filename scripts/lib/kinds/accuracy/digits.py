"""The embedded data set: images composed of scikit-learn's handwritten digits, and questions.

1,797 real digits of 8 x 8 pixels (E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten
Digits, 1998) are laid out in grids; those of training and of evaluation are kept apart.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

SIDE = 8  # pixels of a digit
TRAIN_DIGITS = 1297
TASKS = ("read", "sort")
NUMBERS = ("zero", "one", "two", "three", "four")


@dataclass(frozen=True)
class Puzzle:
    """An image, uint8 of shape (rows x 8, columns x 8), a question and its answer."""

    image: np.ndarray
    question: str
    answer: str


@cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    """All digits: uint8 of shape (1797, 8, 8), dark is 0, and what they are, int64."""
    from sklearn.datasets import load_digits

    found = load_digits()
    return np.round(found.images * (255 / 16)).astype(np.uint8), found.target.astype(np.int64)


@cache
def split() -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the digits for training and for evaluation, drawn once and for all."""
    order = np.random.default_rng(123).permutation(len(digits()[1]))
    return order[:TRAIN_DIGITS], order[TRAIN_DIGITS:]


def grids(max_grid: int) -> list[tuple[int, int]]:
    """Rows and columns of images, the large ones more often: they tell more about crops."""
    small = [(r, c) for r in range(1, max_grid + 1) for c in range(1, max_grid + 1)]
    small = [grid for grid in small if grid[0] * grid[1] > 1 and abs(grid[0] - grid[1]) <= 1]
    return [*small, (max_grid, max_grid)]


def compose(chosen: np.ndarray) -> np.ndarray:
    """Lay digits out in grids: numbers of shape (images, rows, columns) to uint8 images."""
    images, rows, columns = chosen.shape
    tiles = digits()[0][chosen]
    return tiles.transpose(0, 1, 3, 2, 4).reshape(images, rows * SIDE, columns * SIDE)


def question(task: str, rows: int, columns: int) -> str:
    """Return the question of a task about a grid."""
    return f"{task} {NUMBERS[rows]} by {NUMBERS[columns]}"


def answers(task: str, values: np.ndarray) -> np.ndarray:
    """Digits to answer for values of shape (images, digits)."""
    return np.sort(values, axis=1) if task == "sort" else values


def puzzle(number: int, seed: int, max_grid: int) -> Puzzle:
    """Return the evaluation sample of a number; it depends on nothing but these three."""
    generator = np.random.default_rng([seed, number])
    layouts = grids(max_grid)
    rows, columns = layouts[generator.integers(len(layouts))]
    task = TASKS[generator.integers(len(TASKS))]
    chosen = generator.choice(split()[1], (1, rows, columns))
    values = answers(task, digits()[1][chosen].reshape(1, -1))[0]
    return Puzzle(compose(chosen)[0], question(task, rows, columns), " ".join(map(str, values)))
