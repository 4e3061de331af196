"""The fake models' vectors: of unit length, the same for the same seed."""

import hashlib
from array import array


def vector(seed: int, dimensions: int) -> list[float]:
    """`dimensions` floats between -1 and 1, drawn from `seed`."""
    drawn = array("h", hashlib.shake_128(seed.to_bytes(8, "little")).digest(2 * dimensions))
    return [number / 32768 for number in drawn]


def unit_vector(seed: int, dimensions: int) -> list[float]:
    """A vector like `vector`, scaled to length 1."""
    numbers = vector(seed, dimensions)
    length: float = sum(number * number for number in numbers) ** 0.5 or 1.0
    return [number / length for number in numbers]
