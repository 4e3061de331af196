"""Parameters that Claude models refuse on Bedrock, in any request body."""

import re

from bedrock_batch_assets.errors import RequestError

# "`temperature` and `top_p` cannot both be specified for this model", once per record, after the job was accepted.
_ONE_OF_TEMPERATURE_AND_TOP_P = re.compile(r"anthropic\.claude-(opus|sonnet|haiku)-4-5\b.*")
_NEITHER_TEMPERATURE_NOR_TOP_P = re.compile(r"anthropic\.claude-opus-5\b.*")


def check_claude_sampling(model_id: str, temperature: float | None, top_p: float | None) -> None:
    """Check the sampling parameters against the model, before a job full of refusals is paid for in waiting.

    Args:
        model_id: Base model id, see `registry.base_model_id`. Other families pass.
        temperature: As it will be sent; None if it is left out.
        top_p: As it will be sent; None if it is left out.

    Raises:
        RequestError: The service would refuse every record.
    """
    if _NEITHER_TEMPERATURE_NOR_TOP_P.fullmatch(model_id) and not (temperature is None and top_p is None):
        raise RequestError(f"{model_id} takes neither temperature nor top_p: leave both unset in inference_parameters.")
    if _ONE_OF_TEMPERATURE_AND_TOP_P.fullmatch(model_id) and temperature is not None and top_p is not None:
        raise RequestError(
            f"{model_id} takes temperature or top_p, not both: set one of them to null in inference_parameters."
        )
