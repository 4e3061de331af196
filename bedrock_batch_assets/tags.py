"""Names of the run tags and of the metadata that runs and sensors exchange."""

BATCH_TAG = "bedrock/batch"
PARTITION_TAG = "bedrock/partition"
MODEL_TAG = "bedrock/model"
VERSION_TAG = "bedrock/version"
JOB_ARN_TAG = "bedrock/job_arn"

UNKNOWN_MODEL = "unknown"

# Metadata of input_dataset that others read; written for people too.
MODEL_METADATA = "base_model_id"
VERSION_METADATA = "version"
