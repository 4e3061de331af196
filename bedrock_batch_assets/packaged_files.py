"""Files of the project that its users need, wherever it is installed: in a clone, or from a wheel.

A clone has them at its top, where Dagster and people look for them. A wheel has copies below `examples/` (see
`force-include` in pyproject.toml).
"""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def packaged_file(name: str) -> Path:
    """A file or folder such as `dagster.yaml` or `deploy`: that of the clone, else the wheel's copy."""
    in_clone = _PACKAGE.parent / name
    # A package folder may have anything beside it; only a clone has its pyproject.toml there.
    if (_PACKAGE.parent / "pyproject.toml").is_file() and in_clone.exists():
        return in_clone
    return _PACKAGE / "examples" / name
