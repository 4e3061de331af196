"""Which columns an input table may have."""

from collections import Counter
from collections.abc import Collection, Sequence

from bedrock_batch_assets.errors import RequestError


def check_column_names(source: str, names: Sequence[str], reserved: Collection[str]) -> None:
    """Check that the result table can hold the input's columns next to its own.

    Args:
        source: What to call the table in messages.
        names: Its columns.
        reserved: The columns that the result table adds.

    Raises:
        RequestError: A name is empty, comes twice, or is one of `reserved`.
    """
    if not names:
        raise RequestError(f"{source} has no columns: give a table with a header and rows.")
    for place, name in enumerate(names, start=1):
        if not name.strip():
            raise RequestError(f"{source}: column {place} of {len(names)} has no name: name it in the header.")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise RequestError(f"{source} has more than one column named {_listed(twice)}: rename all but one.")
    taken = [name for name in names if name in reserved]
    if taken:
        raise RequestError(
            f"{source} has a column {_listed(taken)}, a name that the result table uses for its own: rename the column."
        )


def _listed(names: Sequence[str], limit: int = 20) -> str:
    shown = ", ".join(repr(name) for name in names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
