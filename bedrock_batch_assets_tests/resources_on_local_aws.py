"""The product's resources on the local AWS stand-in, for tests that run without Dagster's processes."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field

import dagster as dg

from bedrock_batch_assets.assets.batch_job_outputs import batch_job_outputs
from bedrock_batch_assets.assets.checks import CheckLimits
from bedrock_batch_assets.assets.input_dataset import input_dataset
from bedrock_batch_assets.assets.jsonl_chunks import jsonl_chunks
from bedrock_batch_assets.assets.result_parts import result_parts
from bedrock_batch_assets.assets.result_table import result_table
from bedrock_batch_assets.cost.prices import Prices
from bedrock_batch_assets.jobs.resource import BedrockBatchJobs, BedrockOnDemand
from bedrock_batch_assets.processors.registry import Processors
from bedrock_batch_assets.storage.resource import BatchStorage
from bedrock_batch_assets_tests.local_aws_fixture import LocalAws

BUCKET = "data"
HAIKU = "anthropic.claude-3-haiku-20240307-v1:0"
TITAN = "amazon.titan-embed-text-v2:0"


def read_folder(aws: LocalAws, prefix: str) -> list[dict[str, object]]:
    """The rows of all objects below `prefix`, each of which has to be Parquet: no name is left out."""
    import pyarrow.dataset
    import pyarrow.fs

    s3 = pyarrow.fs.S3FileSystem(
        endpoint_override=aws.endpoint_url, access_key="local", secret_key="local", region=aws.region
    )
    folder = pyarrow.dataset.dataset(f"{BUCKET}/{prefix}", filesystem=s3, ignore_prefixes=[])
    rows: list[dict[str, object]] = folder.to_table().to_pylist()
    return rows


@dataclass
class Bench:
    """A bucket, a role and an instance, and batches that run in this process, one asset after the other."""

    aws: LocalAws
    instance: dg.DagsterInstance
    storage: BatchStorage
    jobs: BedrockBatchJobs
    on_demand: BedrockOnDemand = field(default_factory=lambda: BedrockOnDemand(requests_per_second=1000))
    processors: Processors = field(default_factory=Processors)
    prices: Prices = field(default_factory=Prices)
    check_limits: CheckLimits = field(default_factory=CheckLimits)

    @classmethod
    def create(cls, aws: LocalAws, instance: dg.DagsterInstance, **job_settings: object) -> "Bench":
        """A bench on a stand-in that has just been reset."""
        aws.create_bucket(BUCKET)
        role = aws.create_role()
        jobs = BedrockBatchJobs(role_arn=role, **{"max_poll_seconds": 0.05, **job_settings})
        return cls(aws, instance, BatchStorage(bucket=BUCKET), jobs)

    def put_csv(self, key: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
        """Write a CSV file and return its URI."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
        return self.put(key, text.getvalue().encode())

    def put(self, key: str, data: bytes) -> str:
        """Write an object and return its URI."""
        self.aws.client("s3").put_object(Bucket=BUCKET, Key=key, Body=data)
        return f"s3://{BUCKET}/{key}"

    def input(self, batch: str, **request: object) -> dg.ExecuteInProcessResult:
        """Materialize input_dataset."""
        self.instance.add_dynamic_partitions("batches", [batch])
        return self.materialize([input_dataset], batch, {"ops": {"input_dataset": {"config": request}}})

    def chunk(self, key: str, *, resubmit: bool = False) -> dg.ExecuteInProcessResult:
        """Materialize the three assets of a chunk."""
        config: dict[str, object] = {"ops": {"batch_job_outputs": {"config": {"resubmit": True}}}} if resubmit else {}
        return self.materialize([jsonl_chunks, batch_job_outputs, result_parts], key, config)

    def chunks(self, batch: str) -> list[str]:
        """The chunk partitions of a batch that there are."""
        return [key for key in self.instance.get_dynamic_partitions("chunks") if key.rpartition("-")[0] == batch]

    def table(self, batch: str) -> dg.ExecuteInProcessResult:
        """Materialize result_table."""
        return self.materialize([result_table], batch)

    def run(self, batch: str, **request: object) -> None:
        """Materialize everything of a batch."""
        self.input(batch, **request)
        for key in self.chunks(batch):
            self.chunk(key)
        self.table(batch)

    def read_table(self, batch: str) -> list[dict[str, object]]:
        """The rows of a Parquet result table, as somebody reads them who knows only the folder."""
        return read_folder(self.aws, self.storage.layout.results_folder(batch))

    def billed(self) -> list[tuple[str, str]]:
        """(job name, record id) of every batch record ever paid for."""
        return [(entry["jobName"], entry["recordId"]) for entry in self.aws.ledger()]

    def materialize(
        self, assets: list[dg.AssetsDefinition], partition: str, config: dict[str, object] | None = None
    ) -> dg.ExecuteInProcessResult:
        """Materialize some assets of one partition."""
        return dg.materialize(
            assets,
            partition_key=partition,
            instance=self.instance,
            run_config=config or {},
            resources={
                "storage": self.storage,
                "jobs": self.jobs,
                "on_demand": self.on_demand,
                "processors": self.processors,
                "prices": self.prices,
                "check_limits": self.check_limits,
            },
            raise_on_error=False,
        )
