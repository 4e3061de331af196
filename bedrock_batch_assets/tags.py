"""Names of the run tags and of the metadata that runs and sensors exchange."""

from urllib.parse import quote

BATCH_TAG = "bedrock/batch"
PARTITION_TAG = "bedrock/partition"
MODEL_TAG = "bedrock/model"
VERSION_TAG = "bedrock/version"
JOB_ARN_TAG = "bedrock/job_arn"
# The prefix of the names of all jobs that the run may own. Set before the first of them is created.
JOB_TAG = "bedrock/job"
# How often the sensor has asked for the run's work again, after runs that failed.
ASKED_AGAIN_TAG = "bedrock/asked_again"
# On a backfill: the storage id of the input's materialization that it was asked for.
INPUT_EVENT_TAG = "bedrock/input_event"
# On a run of result_table: the input's materialization and the newest part that it was asked for.
TABLE_OF_TAG = "bedrock/table_of"
# On a backfill or a run that was ended since its batch has a newer input: its own id, and that input's version.
SUPERSEDED_TAG = "bedrock/superseded_by"

UNKNOWN_MODEL = "unknown"

# Metadata of input_dataset that others read; written for people too.
MODEL_METADATA = "base_model_id"
VERSION_METADATA = "version"


def runs_page(batch: str) -> str:
    """The path of the UI's page of all runs of a batch."""
    return f"/runs?q[0]={quote(f'tag:{BATCH_TAG}={batch}')}"
