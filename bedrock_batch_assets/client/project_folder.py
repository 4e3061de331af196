"""A project folder outside of a clone: what `dagster dev` needs, prompts, and the templates for AWS."""

from importlib.metadata import version
from pathlib import Path

from bedrock_batch_assets.errors import ConfigurationError
from bedrock_batch_assets.packaged_files import packaged_file

_EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "project"
# In the package their names have no dot: tools would take them for its own.
_RENAMED = {"env.example": ".env.example", "gitignore": ".gitignore"}
# Pins of the image that is made in a clone.
_LOCK = "requirements.lock"
# What runs in a container needs: the database, compute logs and launcher, and Hugging Face datasets.
_EXTRAS = "ecs,huggingface,postgres"


def make_project_folder(folder: Path) -> list[str]:
    """Write a project into a folder, which is made if it is not there.

    Returns:
        The names of what was written, relative to the folder.

    Raises:
        ConfigurationError: The folder cannot be written, or has one of the files already.
    """
    templates = packaged_file("deploy")
    sources = {f"deploy/{name}": templates / name for name in _files_of(templates) if name != _LOCK}
    sources["dagster.yaml"] = packaged_file("dagster.yaml")
    # Its Dockerfile takes the place of that of a clone.
    sources |= {_RENAMED.get(name, name): _EXAMPLE / name for name in _files_of(_EXAMPLE)}
    texts = {name: source.read_text(encoding="utf-8") for name, source in sources.items()}
    texts["requirements.txt"] = f"bedrock-batch-assets[{_EXTRAS}]=={version('bedrock-batch-assets')}\n"
    there = sorted(name for name in texts if (folder / name).exists())
    if there:
        raise ConfigurationError(
            f"{folder} has {', '.join(there[:3])}{' and more' if len(there) > 3 else ''} already: name another folder, "
            "so that nothing is overwritten."
        )
    try:
        for name, text in texts.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{folder} cannot be written: {error.strerror}.") from error
    return sorted(texts)


def _files_of(folder: Path) -> list[str]:
    # What Python and editors leave beside the files is none of them.
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
    )
