"""Credentials of all processes of a scenario, in a file as people have them, which expire and are renewed."""

from pathlib import Path

from bedrock_batch_assets_tests.local_aws_fixture import LocalAws


class KeyFile:
    """The file. What AWS refuses is said by access key ids, so those of the suite itself are never refused."""

    def __init__(self, path: Path) -> None:
        """Write the first keys."""
        self._path = path
        self._number = 0
        self.expired = False
        self.renew()

    def expire(self, aws: LocalAws) -> None:
        """Let AWS refuse the keys that are in the file, and all before them."""
        self.expired = True
        aws.put_settings({"expired_access_keys": [f"key-{number}" for number in range(self._number + 1)]})

    def renew(self) -> None:
        """Write new keys, at one moment as tools do."""
        self._number += 1
        keys = f"aws_access_key_id = key-{self._number}\naws_secret_access_key = secret\naws_session_token = token\n"
        new = self._path.with_suffix(".new")
        new.write_text(f"[default]\n{keys}")
        new.replace(self._path)
        self.expired = False
