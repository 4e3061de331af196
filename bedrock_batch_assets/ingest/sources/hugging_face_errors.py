"""The faults of Hugging Face datasets, each explained in one line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bedrock_batch_assets.errors import ConfigurationError, RequestError
from bedrock_batch_assets.ingest.sources.parquet_errors import first_line

_SLICE = re.compile(r"(.*?)\[(.*)")
# Addresses that people paste instead of an id, with what to write.
_ADDRESSES = (
    (re.compile(r"(?:hf://|https?://huggingface\.co/)datasets/([^/@]+/[^/@]+).*"), "write {0!r}"),
    (re.compile(r"s3a?://.*"), "name files on S3 as s3_uri"),
    (re.compile(r"https?://.*"), "upload its files to S3 and name them as s3_uri"),
)
_SPLITS = re.compile(r"(?:Bad|Unknown) split.*?(?:Available splits|Should be one of):? (\[.*?\])", re.DOTALL)
# Messages of libraries are cut after so many characters: some list everything that they know.
_MOST_CHARACTERS = 300
_IMPORTS = re.compile(r"No module named '([\w.]+)'|(?:install|requires?) (?:the )?'?`?([\w-]+)'?`?", re.IGNORECASE)


def check_dataset_request(dataset_id: str, split: str) -> None:
    """Check what can be checked without looking at the dataset.

    Raises:
        RequestError: The id is an address, a path of no folder, or has blanks around it; or the split is cut.
    """
    for address, advice in _ADDRESSES:
        if match := address.fullmatch(dataset_id.strip()):
            raise RequestError(
                f"dataset_id is {dataset_id!r}, which is no id of a dataset: {advice.format(*match.groups())}."
            )
    if dataset_id != dataset_id.strip():
        raise RequestError(f"dataset_id is {dataset_id!r}, with blanks around it: write {dataset_id.strip()!r}.")
    if dataset_id.startswith((".", "~", "/")) and not Path(dataset_id).expanduser().is_dir():
        raise RequestError(f"dataset_id is {dataset_id!r}, and there is no such folder: check the path.")
    parts = dataset_id.partition(":")[0].split("/")
    if (len(parts) > 2 or not parts[-1]) and not Path(dataset_id).expanduser().is_dir():
        raise RequestError(
            f"dataset_id is {dataset_id!r}, which is no folder, and an id has the form 'owner/name': check it."
        )
    if match := _SLICE.fullmatch(split):
        count = re.fullmatch(r":(\d+)\]", match[2])
        bound = f" and max_records_total: {count[1]}" if count else ", and bound the rows with max_records_total"
        raise RequestError(
            f"split is {split!r}, and parts of splits are not read here: write split: {match[1] or 'train'}{bound}."
        )


@contextmanager
def dataset_errors_explained(dataset_id: str, split: str) -> Iterator[None]:
    """Turn the errors of the datasets library, of what it reads with, and of the hub's client into ours.

    Raises:
        RequestError: The dataset, its split or one of its files is not there or broken.
        ConfigurationError: The hub cannot be reached or denies access, or a package is missing.
    """
    try:
        yield
    except (RequestError, ConfigurationError):
        raise
    except Exception as error:
        raise _explained(dataset_id, split, error) from error


def _explained(dataset_id: str, split: str, error: Exception) -> RequestError | ConfigurationError:
    import yaml

    if isinstance(error, ModuleNotFoundError) and error.name in {"datasets", "huggingface_hub"}:
        return ConfigurationError(
            f"dataset_id needs the package {error.name!r}: install 'bedrock-batch-assets[huggingface]' where the code "
            "location runs."
        )
    import datasets

    if isinstance(error, datasets.exceptions.DatasetNotFoundError):
        return _not_found(dataset_id, error)
    if isinstance(error, ImportError):
        return _missing_package(dataset_id, error)
    is_local = Path(dataset_id).expanduser().is_dir()
    if not is_local and _is_about_the_network(error):
        return ConfigurationError(
            f"The Hugging Face Hub cannot be reached for {dataset_id!r} ({first_line(error)}): check the network and "
            "HF_ENDPOINT, and that HF_HUB_OFFLINE is not set."
        )
    if isinstance(error, yaml.YAMLError):
        mark = getattr(error, "problem_mark", None)
        # The position counts from 0, below the line of dashes.
        place = f" in line {mark.line + 2}" if mark is not None else ""
        problem = getattr(error, "problem", None) or first_line(error)
        return RequestError(
            f"The dataset {dataset_id!r} has a README.md whose head is no YAML{place} ({problem}): mend it there, or "
            "name the dataset's Parquet files as s3_uri."
        )
    if isinstance(error, FileNotFoundError):
        return RequestError(
            f"The dataset {dataset_id!r} holds no data files that can be read{_missing_file(error)}: check dataset_id, "
            "and data_files in its README.md."
        )
    if "scripts are no longer supported" in str(error) or "trust_remote_code" in str(error):
        return RequestError(
            f"The dataset {dataset_id!r} is a Python script ({first_line(error)}), which is not run here: choose a "
            "copy of it as Parquet, or save its rows as Parquet and name them as s3_uri."
        )
    if isinstance(error, ValueError) and (known := _about_names(dataset_id, split, str(error))):
        return RequestError(known)
    return _broken_file(dataset_id, error)


def _missing_file(error: FileNotFoundError) -> str:
    """What was not found, if the error names it."""
    text = first_line(error).rpartition("FileNotFoundError: ")[2].partition(" with any supported extension")[0]
    return "" if " object at 0x" in text else f" ({text[:_MOST_CHARACTERS]})"


def _not_found(dataset_id: str, error: Exception) -> RequestError:
    text = str(error)
    if "gated" in text:
        return RequestError(
            f"The dataset {dataset_id!r} is gated: ask for access on its page, and set HF_TOKEN to a token of the "
            "account that has it."
        )
    return RequestError(
        f"There is no dataset {dataset_id!r} on the Hugging Face Hub, nor a folder of that name: check dataset_id. "
        "If it is private or gated, set HF_TOKEN to a token that may read it."
    )


def _missing_package(dataset_id: str, error: ImportError) -> ConfigurationError:
    found = _IMPORTS.search(str(error))
    package = next((name for name in found.groups() if name), None) if found else error.name
    what = f"the package {package!r}" if package else "a package"
    return ConfigurationError(
        f"The dataset {dataset_id!r} needs {what} to be read ({first_line(error)}): install it where the code location "
        "runs, or save the rows as Parquet and name them as s3_uri."
    )


def _about_names(dataset_id: str, split: str, message: str) -> str | None:
    """What is wrong with the name of a split or a configuration."""
    if found := re.search(
        r"(?:Bad split|Unknown split).*?(?:Available splits|Should be one of):? (\[.*?\])", message, re.S
    ):
        return f"The dataset {dataset_id!r} has no split {split!r}: it has {found[1].strip('[]')}."
    if "Config name is missing" in message or "BuilderConfig" in message:
        name, _, configuration = dataset_id.partition(":")
        names = re.findall(r"\[.*?\]", message, re.DOTALL)
        listed = names[0].strip("[]") if names else "see its page"
        if configuration:
            return f"The dataset {name!r} has no configuration {configuration!r}: it has {listed}."
        return (
            f"The dataset {dataset_id!r} has several configurations ({listed}): name one of them, as in "
            "'owner/name:configuration'."
        )
    return None


def _broken_file(dataset_id: str, error: Exception) -> RequestError:
    """A file that is not what it should be: cut off, damaged, or with other columns than the first."""
    message = first_line(error)[:_MOST_CHARACTERS]
    advice = "mend the dataset, or save its rows as Parquet and name them as s3_uri"
    kind = type(error).__name__
    if kind in {"EOFError", "BadGzipFile", "BadZipFile", "ReadError", "error", "LZMAError", "ZstdError"}:
        return RequestError(
            f"The dataset {dataset_id!r} has a compressed file or archive that is cut off or damaged ({message}): "
            "upload it again, or save the rows as Parquet and name them as s3_uri."
        )
    if "StopIteration" in {kind, message.removeprefix("generator raised ")}:
        return RequestError(f"The dataset {dataset_id!r} has a file without rows: {advice}.")
    if kind == "CastError" or "Schema at index" in str(error):
        text = " ".join(str(error).split())[:_MOST_CHARACTERS]
        return RequestError(
            f"The dataset {dataset_id!r} has files whose columns differ from each other, or from those that its "
            f"README.md declares ({text}): give all of them one schema."
        )
    cause = message if isinstance(error, ValueError | OSError) and message != kind else f"{kind}: {message}"
    return RequestError(f"The dataset {dataset_id!r} cannot be read ({cause}): {advice}.")


def _is_about_the_network(error: Exception) -> bool:
    """Whether the hub, or the way to it, is at fault. Broken files raise plain OSErrors and those of their formats."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    # The transport's errors are those of the HTTP library that the hub's client is built on (requests, httpx, ...).
    transports = tuple(base for base in HfHubHTTPError.__bases__ if base is not OSError)
    kinds = (HfHubHTTPError, OfflineModeIsEnabled, ConnectionError, TimeoutError, *transports)
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, kinds):
            return True
        seen = seen.__cause__
    return False
