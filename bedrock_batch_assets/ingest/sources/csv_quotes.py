"""Which quotes of a CSV file open or close a cell, and which are text, if not all of them come in pairs."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from bedrock_batch_assets.ingest.sources.csv_bits import Positions


@dataclass(frozen=True, slots=True)
class QuoteEvents:
    """All quotes of a piece of a file that are not escaped.

    Attributes:
        places: Their positions in the piece.
        can_open: Which follow a delimiter, a line end, or the beginning of the file.
        can_close: Which come before a delimiter or a line end, or are the last byte of the piece.
        inside: Whether the piece begins inside quotes.
        closed: Whether the byte before the piece is a quote that closes, unless the piece begins with another.
    """

    places: Positions
    can_open: npt.NDArray[np.bool_]
    can_close: npt.NDArray[np.bool_]
    inside: bool
    closed: bool


class TextAfterQuoteError(Exception):
    """Text follows a closing quote.

    Attributes:
        closed: The position of the closing quote in the piece.
        opened: That of its opening quote; None if it is before the piece.
    """

    def __init__(self, closed: int, opened: int | None) -> None:
        super().__init__(closed)
        self.closed = closed
        self.opened = opened


def literal_quotes(events: QuoteEvents) -> Positions:
    """The positions of the quotes that are text since they are outside quotes and open no cell.

    Quotes are taken for opening and closing in turn, doubled ones for a closing and an opening one, up to the first
    that cannot be. If that is an opening one, it is text, and so is each quote after it up to the next that can open.
    The work goes by such stretches and not by quotes.

    Raises:
        TextAfterQuoteError: A closing quote is followed by something else than a delimiter, line end or quote.
    """
    places = events.places
    joined = np.zeros(len(places), np.bool_)
    joined[1:] = np.diff(places) == 1
    joined[0] = events.closed and places[0] == 0
    joined_next = np.append(joined[1:], False)
    opens_wrongly = ~(events.can_open | joined)
    closes_wrongly = ~(events.can_close | joined_next)
    # By whether the opening quotes have even or odd numbers.
    even = np.arange(len(places)) % 2 == 0
    wrong = (
        np.flatnonzero(np.where(even, opens_wrongly, closes_wrongly)).tolist(),
        np.flatnonzero(np.where(even, closes_wrongly, opens_wrongly)).tolist(),
    )
    openings = np.flatnonzero(events.can_open).tolist()
    literal: list[Positions] = []
    opening = _first_opening(events, joined, openings)
    if opening > 0:
        literal.append(places[:opening])
    number = opening
    while number < len(places):
        parity = number % 2
        # The first of a stretch opens, which is known, or closes what was opened before the piece.
        index = bisect_left(wrong[parity], number + 1)
        if index == len(wrong[parity]):
            break
        bad = wrong[parity][index]
        if bad % 2 != parity:
            raise TextAfterQuoteError(int(places[bad]), _opening_of(places, joined, bad, number))
        following = bisect_left(openings, bad)
        number = openings[following] if following < len(openings) else len(places)
        literal.append(places[bad:number])
    return np.concatenate(literal) if literal else np.zeros(0, np.int64)


def _first_opening(events: QuoteEvents, joined: npt.NDArray[np.bool_], openings: list[int]) -> int:
    """The number of the first quote that opens; -1 if it is before the piece."""
    if events.inside:
        return -1
    if joined[0]:
        return 0
    return openings[0] if openings else len(events.places)


def _opening_of(places: Positions, joined: npt.NDArray[np.bool_], closing: int, first: int) -> int | None:
    """The position of the quote that opens what quote number `closing` closes, among those from `first` on."""
    number = closing - 1
    while number > first and joined[number]:
        number -= 2
    if number < 0 or (number == first == 0 and joined[0]):
        return None
    return int(places[number])
