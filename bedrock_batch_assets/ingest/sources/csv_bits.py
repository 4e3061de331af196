"""Sets of positions in a piece of text, as bits of 64-bit words: the arithmetic that finds quotes and line ends fast.

Position i of the piece is bit i % 64 of word i // 64. The idea is that of simdjson (Langdale and Lemire, "Parsing
gigabytes of JSON per second", 2019): whether a position is inside quotes is the parity of the quotes up to it, which a
few shifts work out for 64 positions at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Words = npt.NDArray[np.uint64]
    Positions = npt.NDArray[np.int64]

_ONE = np.uint64(1)
_LAST = np.uint64(63)
_SHIFTS = tuple(np.uint64(shift) for shift in (2, 4, 8, 16, 32))


class ByteFinder:
    """Finds the positions of bytes in one piece after the other; keeps its memory between them."""

    def __init__(self) -> None:
        self._mask = np.zeros(0, np.bool_)
        self._bytes: npt.NDArray[np.uint8] = np.zeros(0, np.uint8)
        self.word_count = 0

    def load(self, piece: bytes) -> npt.NDArray[np.uint8]:
        """Take a piece, and return it as an array."""
        self._bytes = np.frombuffer(piece, np.uint8)
        self.word_count = -(-len(piece) // 64)
        if len(self._mask) != 64 * self.word_count:
            self._mask = np.zeros(64 * self.word_count, np.bool_)
        return self._bytes

    def mask(self, byte: int) -> npt.NDArray[np.bool_]:
        """Where the piece has `byte`. Valid until the next call of any method."""
        size = len(self._bytes)
        self._mask[size:] = False
        return np.equal(self._bytes, byte, out=self._mask[:size])

    def find(self, byte: int) -> Words:
        """Where the piece has `byte`."""
        self.mask(byte)
        return self._packed()

    def at(self, positions: Positions) -> Words:
        """The set of these positions."""
        self._mask[:] = False
        self._mask[positions] = True
        return self._packed()

    def none(self) -> Words:
        """The empty set."""
        return np.zeros(self.word_count, np.uint64)

    def _packed(self) -> Words:
        return np.packbits(self._mask, bitorder="little").view("<u8").astype(np.uint64, copy=False)


def after(bits: Words, *, first: bool) -> Words:
    """The positions just after those of `bits`; and position 0 if `first`."""
    shifted = bits << _ONE
    shifted[1:] |= bits[:-1] >> _LAST
    if first:
        shifted[0] |= _ONE
    return shifted


def before(bits: Words, last: int) -> Words:
    """The positions just before those of `bits`, and the position `last`."""
    shifted = bits >> _ONE
    shifted[:-1] |= bits[1:] << _LAST
    shifted[last >> 6] |= _ONE << np.uint64(last & 63)
    return shifted


def odd_parity(bits: Words, *, odd: bool) -> Words:
    """The positions up to which, themselves included, the number of `bits` is odd; `odd` if it already is before."""
    parity = bits << _ONE
    parity ^= bits
    shifted = np.empty_like(parity)
    for shift in _SHIFTS:
        np.left_shift(parity, shift, out=shifted)
        parity ^= shifted
    # The highest bit of a word is its parity: added up over the words before each.
    sums = np.bitwise_xor.accumulate(parity.astype("<u8", copy=False).view(np.uint8)[7::8]) >> np.uint8(7)
    shifted[0] = odd
    shifted[1:] = sums[:-1]
    shifted[1:] ^= np.uint64(odd)
    np.negative(shifted, out=shifted)
    parity ^= shifted
    return parity


def count(bits: Words) -> int:
    """How many positions there are."""
    return int(np.bitwise_count(bits).sum())


def count_from(bits: Words, start: int) -> int:
    """How many positions are not below `start`."""
    word, rest = start >> 6, start & 63
    total = count(bits[word:])
    if rest:
        total -= (int(bits[word]) & ((1 << rest) - 1)).bit_count()
    return total


def last(bits: Words) -> int:
    """The last position; -1 if there is none."""
    # It is near the end in most cases.
    first = max(len(bits) - 32, 0)
    words = np.flatnonzero(bits[first:])
    if not len(words):
        first = 0
        words = np.flatnonzero(bits)
        if not len(words):
            return -1
    word = first + int(words[-1])
    return 64 * word + int(bits[word]).bit_length() - 1


def holds(bits: Words, position: int) -> bool:
    """Whether `position` is one of them."""
    return bool(int(bits[position >> 6]) >> (position & 63) & 1)


def chosen(bits: Words, positions: Positions) -> npt.NDArray[np.bool_]:
    """Which of the positions are in `bits`."""
    found: npt.NDArray[np.bool_] = (bits[positions >> 6] >> (positions & 63).astype(np.uint64) & _ONE) == _ONE
    return found


def positions(bits: Words) -> Positions:
    """All positions, in order."""
    return np.flatnonzero(np.unpackbits(bits.astype("<u8", copy=False).view(np.uint8), bitorder="little"))
