"""The names of the assets, by what their partitions are."""

JOB_OUTPUTS = "batch_job_outputs"
CHUNK_ASSETS = ("jsonl_chunks", JOB_OUTPUTS, "result_parts")
BATCH_ASSETS = ("input_dataset", "result_table")
# It works on a batch's partition, and is no step of the batch.
PILOT = "pilot"
