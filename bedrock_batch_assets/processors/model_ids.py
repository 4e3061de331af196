"""Model ids, and what is in them."""

import re

# Geographies of cross-region inference profiles (Amazon Bedrock User Guide, supported inference profiles).
REGION_PREFIX = re.compile(r"^(?:us|us-gov|us-iso[a-z]?|eu|eu-isoe|apac|global|jp|au|ca|sa|uk|in|me|mx|af|il|kr)\.")
# `amazon.nova-lite-v1:0:300k`: the variant with a context of that length.
_CONTEXT_SUFFIX = re.compile(r"(?<=:\d):[A-Za-z0-9]+$")


def base_model_id(model_id: str) -> str:
    """The id of the model itself: no ARN, no region prefix, no context suffix.

    `arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.amazon.nova-lite-v1:0` is `amazon.nova-lite-v1:0`.
    """
    return _CONTEXT_SUFFIX.sub("", REGION_PREFIX.sub("", model_name(model_id), count=1))


def model_name(model_id: str) -> str:
    """The id without what makes it an ARN."""
    return model_id.strip().rsplit("/", 1)[-1]
