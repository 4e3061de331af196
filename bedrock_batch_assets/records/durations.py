"""Durations as people read them."""


def duration(seconds: float, *, short: bool = False) -> str:
    """`2 h 5 min`, `3 min 20 s` or `12 s`; `short` has the larger unit alone, and days."""
    days, rest = divmod(round(seconds), 86_400)
    if short and days:
        return f"{days} d"
    hours, rest = divmod(rest, 3_600)
    hours += days * 24
    if hours:
        return f"{hours} h" if short else f"{hours} h {rest // 60} min"
    if rest >= 60:
        return f"{rest // 60} min" if short else f"{rest // 60} min {rest % 60} s"
    return f"{rest} s"
