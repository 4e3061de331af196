"""The fake models' vectors: the same for the same seed, and of unit length if wanted."""

import random
from functools import cache

# A vector is made of blocks of one fixed vector, in an order and with signs drawn from the seed: its length stays as
# it is, and it takes a hundredth of the time of drawing 1,024 numbers.
_BLOCKS = 32


def unit_vector(seed: int, dimensions: int) -> list[float]:
    """A vector of length 1, of 256 dimensions or another multiple of 32."""
    return _shuffled(seed, _blocks(dimensions, 1.0))


def vector(seed: int, dimensions: int) -> list[float]:
    """A vector in the same direction as `unit_vector`, but longer, as models give it without `normalize`."""
    return _shuffled(seed, _blocks(dimensions, 16.0))


def _shuffled(seed: int, blocks: tuple[list[list[float]], list[list[float]]]) -> list[float]:
    start, signs = seed % _BLOCKS, seed >> 5
    result: list[float] = []
    for index in range(_BLOCKS):
        result += blocks[signs >> index & 1][(index + start) % _BLOCKS]
    return result


@cache
def _blocks(dimensions: int, length: float) -> tuple[list[list[float]], list[list[float]]]:
    """The fixed vector's blocks, and the same with their signs turned."""
    drawn = random.Random(dimensions)
    numbers = [drawn.gauss(0, 1) for _ in range(dimensions)]
    scale = length / sum(number * number for number in numbers) ** 0.5
    # Nine decimals, as the service writes them.
    numbers = [round(number * scale, 9) for number in numbers]
    size = dimensions // _BLOCKS
    parts = [numbers[start : start + size] for start in range(0, dimensions, size)]
    return parts, [[-number for number in part] for part in parts]
