"""The keys of everything on S3, relative to the bucket. Every folder ends in a slash."""

from dataclasses import dataclass

from bedrock_batch_assets.output_format import OutputFormat
from bedrock_batch_assets.partition_keys import chunk_key, split_chunk_key


@dataclass(frozen=True, slots=True)
class Layout:
    """The keys of all batches below `prefix` (empty, or ending in a slash)."""

    prefix: str = ""

    @property
    def inputs_folder(self) -> str:
        """The inputs of all batches."""
        return f"{self.prefix}batch_inputs/"

    def input_folder(self, batch: str) -> str:
        """The input table and the batch's manifest."""
        return f"{self.inputs_folder}{batch}/"

    def rows(self, batch: str, table_digest: str) -> str:
        """The input table as Parquet. Another content has another key, so a run in flight keeps its rows."""
        return f"{self.input_folder(batch)}{table_digest}/rows.parquet"

    def batch_manifest(self, batch: str) -> str:
        """The batch as it is now: request, version and chunks. Written last."""
        return f"{self.input_folder(batch)}manifest.json"

    def records_folder(self, batch: str) -> str:
        """The rendered records of all chunks."""
        return f"{self.prefix}batch_inputs_json/{batch}/"

    def chunk_manifest(self, chunk: str) -> str:
        """What was rendered for the chunk. It is outside the jobs' folders, since a job reads all of its folder."""
        return f"{self.records_folder(split_chunk_key(chunk)[0])}{chunk}/chunk.json"

    def job_folder(self, chunk: str, digest: str, wave: int = 0) -> str:
        """The input folder of one job, holding its one JSONL file."""
        suffix = f"-w{wave}" if wave else ""
        return f"{self.records_folder(split_chunk_key(chunk)[0])}{chunk}/{digest}{suffix}/"

    def job_records(self, chunk: str, digest: str, wave: int = 0) -> str:
        """The JSONL file of one job."""
        return f"{self.job_folder(chunk, digest, wave)}{chunk}.jsonl"

    def outputs_folder(self, batch: str) -> str:
        """The outputs of all jobs of a batch."""
        return f"{self.prefix}batch_outputs_json/{batch}/"

    def chunk_outputs_folder(self, chunk: str) -> str:
        """The outputs of the chunk's jobs; the service makes a folder of the job's id in it."""
        return f"{self.outputs_folder(split_chunk_key(chunk)[0])}{chunk}/"

    def on_demand_claims(self, chunk: str, digest: str, wave: int) -> str:
        """The claims and answers of an on-demand pass; deleted when it is over."""
        return f"{self.records_folder(split_chunk_key(chunk)[0])}{chunk}/{digest}-w{wave}-on-demand/"

    def on_demand_prefix(self, chunk: str, digest: str) -> str:
        """What the output folders of all on-demand passes over this content begin with."""
        return f"{self.chunk_outputs_folder(chunk)}on-demand-{digest}-w"

    def on_demand_outputs(self, chunk: str, digest: str, wave: int) -> str:
        """The output file of an on-demand pass, of the same form as a job's."""
        return f"{self.on_demand_prefix(chunk, digest)}{wave}/{chunk}.jsonl.out"

    def resubmissions(self, chunk: str, digest: str) -> str:
        """Which runs were told to pay for this content again."""
        return f"{self.records_folder(split_chunk_key(chunk)[0])}{chunk}/{digest}-resubmissions.json"

    def outputs_manifest(self, chunk: str) -> str:
        """Which jobs answered the chunk, and where their outputs are."""
        return f"{self.chunk_outputs_folder(chunk)}outputs.json"

    def results_folder(self, batch: str) -> str:
        """The result table: one part a chunk, and nothing else, so that any reader takes the folder as a table."""
        return f"{self.prefix}batch_output_parquet/{batch}/"

    def result_part(self, batch: str, index: int, output_format: OutputFormat) -> str:
        """The part of the result table that belongs to chunk `index`."""
        return f"{self.results_folder(batch)}part-{index:05d}.{output_format.value}"

    def state_folder(self, batch: str) -> str:
        """The platform's own files about the result table, outside the folder that holds the table."""
        return f"{self.prefix}batch_output_state/{batch}/"

    def staged_folder(self, batch: str) -> str:
        """The answers of the batch's chunks, each with the rows that its chunk was made of."""
        return f"{self.state_folder(batch)}parts/"

    def staged_part(self, batch: str, index: int, version: str, output_format: OutputFormat) -> str:
        """The answers of this version of chunk `index`: kept, since later inputs may have the same records."""
        return f"{self.staged_folder(batch)}{index:05d}-{version}.{output_format.value}"

    def table_manifest(self, batch: str) -> str:
        """Summary of the result table. It exists only while the parts that it names are in place. Written last."""
        return f"{self.state_folder(batch)}manifest.json"

    def joined_folder(self, batch: str) -> str:
        """Parts whose answers come from several chunks, until they are put in place."""
        return f"{self.state_folder(batch)}table/"

    def joined_part(self, batch: str, place: int, version: str, output_format: OutputFormat) -> str:
        """Part number `place` of the table, made of this version of its rows and answers."""
        return f"{self.joined_folder(batch)}{place:05d}-{version}.{output_format.value}"

    def references(self, batch: str, version: str) -> str:
        """Which answer belongs to each row of this input."""
        return f"{self.input_folder(batch)}{version}/references.parquet"

    def new_rows(self, batch: str, first: int, digest: str) -> str:
        """What the chunks from number `first` on read of their rows, if these are only some of the table's."""
        return f"{self.input_folder(batch)}{digest}/new-rows-{first:05d}.parquet"

    def claims_folder(self, recipe: str) -> str:
        """The claims of all batches with this prompt, model and parameters, see `storage.claims`."""
        return f"{self.all_claims_folder}{recipe}/claims/"

    @property
    def all_claims_folder(self) -> str:
        """The claims of all recipes."""
        return f"{self.prefix}batch_records/"

    def claim(self, recipe: str, batch: str, first: int, version: str) -> str:
        """The chunks from number `first` on that one input of the batch asked for, of these versions."""
        return f"{self.claims_folder(recipe)}{batch}/{first:05d}-{version}.json"

    def claim_index(self, recipe: str, batch: str, first: int, version: str) -> str:
        """The records of these chunks."""
        return f"{self.claims_folder(recipe)}{batch}/{first:05d}-{version}.index"

    def bad_answers_folder(self, recipe: str) -> str:
        """Which records have to be asked for again, by chunk."""
        return f"{self.all_claims_folder}{recipe}/bad/"

    def bad_answers(self, recipe: str, chunk: str, version: str) -> str:
        """Which records of this version of a chunk have to be asked for again."""
        return f"{self.bad_answers_folder(recipe)}{chunk}@{version}.json"

    def pilot_report(self, batch: str) -> str:
        """What the batch's last pilot showed."""
        return f"{self.prefix}batch_pilots/reports/{batch}.json"

    def pilot_measurement(self, recipe: str) -> str:
        """What a pilot measured of a prompt, a model and parameters, whatever the batch."""
        return f"{self.prefix}batch_pilots/measured/{recipe}.json"

    def pilot_answers(self, model: str) -> str:
        """Claims and answers of all pilots of a model, given as a digest."""
        return f"{self.prefix}batch_pilots/answers/{model}/"

    def parked_run(self, run_id: str) -> str:
        """The claims on the processes of a run that waits without one."""
        return f"{self.prefix}batch_parked_runs/{run_id}/"

    def former(self, batch: str) -> "FormerLayout":
        """The keys of earlier versions, for some of this."""
        return FormerLayout(self.results_folder(batch))

    def chunk(self, batch: str, index: int) -> str:
        """The chunk key, see `partitions.chunk_key`."""
        return chunk_key(batch, index)


@dataclass(frozen=True, slots=True)
class FormerLayout:
    """What version 0.1 put into a batch's results folder, below names with an underscore, which some readers open."""

    results_folder: str

    @property
    def table_manifest(self) -> str:
        """Summary of the result table."""
        return f"{self.results_folder}_manifest.json"

    @property
    def staged_folder(self) -> str:
        """Parts that wait for the others of their input."""
        return f"{self.results_folder}_parts/"

    def staged_part(self, index: int, version: str, output_format: OutputFormat) -> str:
        """The part of chunk `index` that was made from this version of it."""
        return f"{self.staged_folder}_{index:05d}-{version}.{output_format.value}"
