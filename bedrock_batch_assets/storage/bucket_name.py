"""The name of the platform's bucket, as people write it into an environment variable."""

import re

from bedrock_batch_assets.errors import ConfigurationError

BUCKET_VARIABLE = "BEDROCK_BATCH_BUCKET"

# Amazon S3 User Guide, "General purpose bucket naming rules". Bedrock's own pattern for `s3Uri` takes no other names,
# so buckets from before 2018 with capital letters or underscores cannot be used.
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
# What people write around a name: a scheme, an ARN, the address of the console or of the bucket.
_AROUND = re.compile(
    r"s3[an]?:/*|arn:aws[a-z-]*:s3:::"
    r"|https?://(?:s3[.-][a-z0-9.-]*amazonaws\.com/|[a-z0-9.-]+\.console\.aws\.amazon\.com/s3/buckets/)?"
)


def checked_bucket(value: str) -> str:
    """The name, if it is one.

    Args:
        value: As it was configured.

    Raises:
        ConfigurationError: It is empty, or something else than a name. The message proposes the name that is meant.
    """
    if not value.strip():
        raise ConfigurationError(
            f"No bucket configured: set {BUCKET_VARIABLE} to a bucket in the region of your jobs, or run `make dev` "
            "for a local stand-in."
        )
    if _NAME.fullmatch(value) and ".." not in value:
        return value
    rest = _AROUND.sub("", value.strip().strip("'\"").strip(), count=1)
    name, _, folder = rest.strip("/").partition("/")
    name = name.partition("?")[0].partition(".s3.")[0].partition(".s3-")[0]
    if not _NAME.fullmatch(name) or ".." in name:
        raise ConfigurationError(
            f"{BUCKET_VARIABLE} is {value!r}, which is not the name of a bucket: write the name alone, without s3:// "
            "and without a folder. It has 3 to 63 lower-case letters, digits, dots and dashes."
        )
    place = f" The folder {folder!r} goes into `prefix` of the storage resource." if folder else ""
    raise ConfigurationError(
        f"{BUCKET_VARIABLE} is {value!r}, and takes the name of a bucket alone: write {BUCKET_VARIABLE}={name}.{place}"
    )
