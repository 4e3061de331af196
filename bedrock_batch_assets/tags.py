"""Names of the run tags and of the metadata that runs and sensors exchange."""

BATCH_TAG = "bedrock/batch"
PARTITION_TAG = "bedrock/partition"
MODEL_TAG = "bedrock/model"
VERSION_TAG = "bedrock/version"
JOB_ARN_TAG = "bedrock/job_arn"
# What the names of all jobs that the run may own begin with. There before the first of them is asked for.
JOB_TAG = "bedrock/job"
# How often the sensor has asked for the run's work again, after runs that failed through no fault of their own.
ASKED_AGAIN_TAG = "bedrock/asked_again"

UNKNOWN_MODEL = "unknown"

# Metadata of input_dataset that others read; written for people too.
MODEL_METADATA = "base_model_id"
VERSION_METADATA = "version"
