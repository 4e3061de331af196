"""Amazon Bedrock batch inference as Dagster assets. What is named here is for other programs to use."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bedrock_batch_assets.client.results import read_result

__all__ = ["read_result"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: loading the definitions must not import all of them."""
    if name == "read_result":
        from bedrock_batch_assets.client.results import read_result

        return read_result
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
