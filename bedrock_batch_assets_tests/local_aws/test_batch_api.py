from bedrock_batch_assets_tests.local_aws_fixture import LocalAws


def test_smoke(local_aws: LocalAws) -> None:
    """A job completes."""
    local_aws.create_bucket("data")
    role = local_aws.create_role()
    records = [{"recordId": f"r{i}", "modelInput": {"inputText": f"text {i}"}} for i in range(100)]
    uri = local_aws.put_records("data", "in/x.jsonl", records)
    arn = local_aws.client("bedrock").create_model_invocation_job(
        jobName="j",
        roleArn=role,
        modelId="amazon.titan-embed-text-v2:0",
        inputDataConfig={"s3InputDataConfig": {"s3Uri": uri}},
        outputDataConfig={"s3OutputDataConfig": {"s3Uri": "s3://data/out/"}},
    )["jobArn"]
    job = local_aws.wait_for_job(arn)
    assert job["status"] == "Completed", job
    print(sorted(local_aws.read_outputs("s3://data/out/")), local_aws.calls(), local_aws.ledger_summary())
