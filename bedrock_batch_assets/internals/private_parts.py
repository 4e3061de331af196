"""A library's private parts that are used here, each with the sentence that says what is lost without it."""

import logging
from collections.abc import Iterator, Mapping

from bedrock_batch_assets.errors import ConfigurationError

logger = logging.getLogger(__name__)


class PrivateParts(Mapping[str, str]):
    """The parts of one library, by name.

    Args:
        library: The library's name, for people.
        requirement: What to install so that all parts are there, as pip takes it.
        sentences: Of each part: the version in which it was read, where, and what is lost without it.
    """

    def __init__(self, library: str, requirement: str, sentences: Mapping[str, str]) -> None:
        self._library = library
        self._requirement = requirement
        self._sentences = dict(sentences)
        self._said: set[str] = set()

    def __getitem__(self, part: str) -> str:
        """The sentence of a part."""
        return self._sentences[part]

    def __iter__(self) -> Iterator[str]:
        """The names of the parts."""
        return iter(self._sentences)

    def __len__(self) -> int:
        """How many parts there are."""
        return len(self._sentences)

    def say_once(self, part: str, cause: object = None) -> None:
        """Log, once in this process, that a part is missing and what is lost without it."""
        if part not in self._said:
            self._said.add(part)
            logger.warning("%s", self._message("is used", part, cause))

    def missing(self, part: str, cause: object = None) -> ConfigurationError:
        """The error to raise if a part is missing that nothing can replace."""
        return ConfigurationError(f"{self._message('is needed', part, cause)} Install {self._requirement!r}.")

    def _message(self, need: str, part: str, cause: object) -> str:
        reason = "" if cause is None else f" ({cause})"
        return f"The installed {self._library} lacks a private part that {need}: {part}{reason}. {self[part]}"
