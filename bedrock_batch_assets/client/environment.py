"""The platform that the environment variables name, seen from a client."""

import os
import time
from collections.abc import Callable

from bedrock_batch_assets.client.batches import Batches
from bedrock_batch_assets.client.webserver import DEFAULT_URL, URL_VARIABLE, Webserver
from bedrock_batch_assets.errors import RequestError, did_you_mean
from bedrock_batch_assets.jobs.service import ROLE_ARN_VARIABLE, BatchJobs
from bedrock_batch_assets.storage.bucket import BatchBucket
from bedrock_batch_assets.storage.bucket_name import BUCKET_VARIABLE


def region_from_environment() -> str | None:
    """AWS_REGION, which the AWS CLI and the other SDKs read and boto3 does not; None leaves the choice to boto3."""
    return os.environ.get("AWS_REGION") or None


def check_region(region: str) -> None:
    """Refuse a Region that the installed boto3 does not know.

    Raises:
        RequestError: It does not. Names one that is like it.
    """
    from boto3.session import Session

    session = Session()
    partitions = session.get_available_partitions()
    known = {name for partition in partitions for name in session.get_available_regions("ec2", partition)}
    if region not in known:
        raise RequestError(
            f"There is no AWS Region {region!r}.{did_you_mean(region, known)} (If it is new, upgrade boto3.)"
        )


def url_from_environment() -> str:
    """The address of Dagster's webserver: BEDROCK_BATCH_DAGSTER_URL, or that of `make dev`."""
    return os.environ.get(URL_VARIABLE) or DEFAULT_URL


def storage_from_environment() -> BatchBucket:
    """The bucket that BEDROCK_BATCH_BUCKET names, as the assets use it."""
    return BatchBucket(bucket=os.environ.get(BUCKET_VARIABLE, ""), region_name=region_from_environment())


def batches_from_environment(
    url: str, *, sleep: Callable[[float], None] = time.sleep, on_trouble: Callable[[str], None] = lambda _: None
) -> Batches:
    """The batches of the Dagster at `url`, and of the bucket and account of the environment.

    Args:
        url: Address of the webserver.
        sleep: How to wait between two looks; it may raise to end the waiting.
        on_trouble: Takes a sentence for people when Dagster's database is away, and waited for.
    """
    jobs = BatchJobs(role_arn=os.environ.get(ROLE_ARN_VARIABLE, ""), region_name=region_from_environment())
    webserver = Webserver(url, on_trouble=on_trouble, sleep=sleep)
    return Batches(webserver, storage_from_environment(), jobs, sleep=sleep)
