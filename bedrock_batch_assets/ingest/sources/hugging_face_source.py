"""Hugging Face datasets: from the hub or a local folder, streamed by the `datasets` library."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from bedrock_batch_assets.errors import ConfigurationError, RequestError
from bedrock_batch_assets.extras import require_extra

# Rows may hold images or documents of megabytes, so batches are short.
_BATCH_ROWS = 256


class HuggingFaceSource:
    """One split of a dataset, in the types that its features declare; images and audio as their bytes and path.

    `dataset_id` is a hub id (`owner/name`, or `owner/name:configuration` where there are several), or the path of a
    local folder: one that holds data files, or one that `Dataset.save_to_disk` wrote.
    """

    def __init__(self, dataset_id: str, split: str) -> None:
        """Find the dataset and its columns.

        Raises:
            RequestError: There is no such dataset or split, or its files cannot be read.
            ConfigurationError: The hub cannot be reached, or denies access.
        """
        self.name = f"Dataset {dataset_id!r}, split {split!r}"
        require_extra("huggingface", "datasets", f"dataset_id {dataset_id!r}")
        with _explained(dataset_id, split):
            self._dataset = _load(dataset_id, split)
            if self._dataset.features is not None:
                self._tables = self._dataset.with_format("arrow").iter(batch_size=_BATCH_ROWS)
                schema = self._dataset.features.arrow_schema
            else:
                # CSV and JSON files declare no types: those of the first rows count.
                self._tables = self._dataset.with_format("arrow").iter(batch_size=_BATCH_ROWS)
                first = next(iter(self._tables), None)
                if first is None:
                    raise RequestError(f"{self.name} has no rows: choose another split.")
                self._tables = _chained(first, self._tables)
                schema = first.schema
        self._dataset_id = dataset_id
        self._split = split
        self.schema = schema.remove_metadata()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows, in order.

        Raises:
            RequestError: A file cannot be read, or rows are of another type than the first.
            ConfigurationError: The hub cannot be reached any more.
        """
        with _explained(self._dataset_id, self._split):
            for table in self._tables:
                yield from self._aligned(table).to_batches()

    def _aligned(self, table: pa.Table) -> pa.Table:
        table = table.replace_schema_metadata(None)
        if table.schema.equals(self.schema):
            return table
        columns = []
        for field in self.schema:
            if field.name not in table.column_names:
                raise RequestError(f"{self.name}: column {field.name!r} is missing in some of its files.")
            values = table.column(field.name)
            try:
                columns.append(values if values.type == field.type else values.cast(field.type))
            except pa.ArrowException as error:
                raise RequestError(
                    f"{self.name}: column {field.name!r} is {field.type} in its first rows and {values.type} later: "
                    "convert the dataset to Parquet with one type for it."
                ) from error
        extra = [name for name in table.column_names if name not in self.schema.names]
        if extra:
            raise RequestError(
                f"{self.name}: column {extra[0]!r} is missing in its first rows: give all files one schema."
            )
        return pa.Table.from_arrays(columns, schema=self.schema)


def _load(dataset_id: str, split: str) -> Any:
    import datasets

    datasets.disable_progress_bars()
    folder = Path(dataset_id).expanduser()
    if folder.is_dir():
        if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
            return _load_from_disk(folder, split)
        return datasets.load_dataset(str(folder), split=split, streaming=True)
    name, _, configuration = dataset_id.partition(":")
    return datasets.load_dataset(name, configuration or None, split=split, streaming=True)


def _load_from_disk(folder: Path, split: str) -> Any:
    import datasets

    loaded = datasets.load_from_disk(str(folder))
    if not isinstance(loaded, datasets.DatasetDict):
        # A single split is saved without its name; it is the one that is meant.
        return loaded
    if split not in loaded:
        raise ValueError(f"Bad split: {split}. Available splits: {list(loaded)}")
    return loaded[split]


def _chained(first: pa.Table, rest: Iterator[pa.Table]) -> Iterator[pa.Table]:
    yield first
    yield from rest


@contextmanager
def _explained(dataset_id: str, split: str) -> Iterator[None]:
    """Turn the errors of the datasets library and the hub's client into ours."""
    import datasets
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    # The transport's errors are those of the HTTP library that the hub's client is built on (requests, httpx, ...), and
    # its own derive from them and from OSError.
    unreachable: tuple[type[BaseException], ...] = (OSError, OfflineModeIsEnabled, *HfHubHTTPError.__bases__)
    local = Path(dataset_id).expanduser().is_dir()
    try:
        yield
    except (RequestError, ConfigurationError):
        raise
    except datasets.exceptions.DatasetNotFoundError as error:
        raise RequestError(
            f"There is no dataset {dataset_id!r} on the Hugging Face Hub, nor a folder of that name: check dataset_id. "
            "If it is private or gated, set HF_TOKEN to a token that may read it."
        ) from error
    except FileNotFoundError as error:
        raise RequestError(
            f"The dataset {dataset_id!r} holds no data files that can be read ({_first_line(error)}): check dataset_id."
        ) from error
    except unreachable as error:
        if local:
            raise RequestError(f"The dataset folder {dataset_id!r} cannot be read ({_first_line(error)}).") from error
        raise ConfigurationError(
            f"The Hugging Face Hub cannot be reached for {dataset_id!r} ({_first_line(error)}): check the network and "
            "HF_ENDPOINT, and that HF_HUB_OFFLINE is not set."
        ) from error
    except ValueError as error:
        raise RequestError(_explain_value_error(dataset_id, split, str(error))) from error
    except datasets.exceptions.DatasetsError as error:
        raise RequestError(f"The dataset {dataset_id!r} cannot be read ({_first_line(error)}).") from error


def _explain_value_error(dataset_id: str, split: str, message: str) -> str:
    if found := re.search(r"Bad split.*?Available splits: (\[.*?\])", message, re.DOTALL):
        return f"The dataset {dataset_id!r} has no split {split!r}: it has {found[1].strip('[]')}."
    if "Config name is missing" in message or "BuilderConfig" in message:
        names = re.findall(r"\[.*?\]", message, re.DOTALL)
        listed = names[0].strip("[]") if names else "see its page"
        return (
            f"The dataset {dataset_id!r} has several configurations ({listed}): name one of them, as in "
            "'owner/name:configuration'."
        )
    return f"The dataset {dataset_id!r} cannot be read ({message.strip().splitlines()[0].rstrip('.')})."


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__
