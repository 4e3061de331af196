"""Reads the levels of a page, which say if its rows and its lists begin.

Source: Apache Parquet, Encodings.md, "Run Length Encoding / Bit-Packing Hybrid".
"""

from __future__ import annotations

# So many runs at a time are compared with the runs that many rows have in common.
_COMPARED_RUNS = 256


def count_levels(data: bytes, bit_width: int, level: int, expected: int) -> tuple[int, int]:
    """Count levels in the hybrid of runs and packed bits.

    Args:
        data: The levels, without the length before them.
        bit_width: Bits of a packed level, 1 to 8.
        level: The one to count.
        expected: How many levels there should be: packed ones come eight at a time, so the last may be none.

    Returns:
        How many levels there are, and how many of them are `level`.

    Raises:
        ValueError: The levels are cut off.
    """
    total = found = place = 0
    while place < len(data):
        # Vectors of one length have the same two runs in each row.
        start = place
        counts = [0, 0]
        for _ in range(2):
            if place < len(data):
                place, run_total, run_found = _run(data, place, bit_width, level, expected - total - counts[0])
                counts[0] += run_total
                counts[1] += run_found
        runs = data[start:place]
        times = 1
        many = runs * _COMPARED_RUNS
        while data.startswith(many, place):
            place += len(many)
            times += _COMPARED_RUNS
        while data.startswith(runs, place):
            place += len(runs)
            times += 1
        total += times * counts[0]
        found += times * counts[1]
    return total, found


def _run(data: bytes, place: int, bit_width: int, level: int, most: int) -> tuple[int, int, int]:
    """Where the run at a place ends, how many levels it has, `most` at most if packed, and how many are `level`."""
    header = shift = 0
    byte = 0x80
    while byte & 0x80:
        if place >= len(data):
            raise ValueError("the levels are cut off")
        byte = data[place]
        header |= (byte & 0x7F) << shift
        shift += 7
        place += 1
    count = header >> 1
    size = count * bit_width if header & 1 else 1
    packed = data[place : place + size]
    if len(packed) < size:
        raise ValueError("the levels are cut off")
    if not header & 1:
        return place + 1, count, count if packed[0] == level else 0
    bits = int.from_bytes(packed, "little")
    mask = (1 << bit_width) - 1
    levels = [(bits >> bit_width * index) & mask for index in range(min(8 * count, max(most, 0)))]
    return place + size, len(levels), levels.count(level)
