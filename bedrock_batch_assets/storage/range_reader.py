"""An S3 object as a seekable file, read by range requests of the caller's own boto3 client."""

import io
from typing import TYPE_CHECKING

from botocore.exceptions import IncompleteReadError, ReadTimeoutError, ResponseStreamingError

from bedrock_batch_assets.storage.s3_errors import s3_errors_explained

if TYPE_CHECKING:
    from collections.abc import Buffer  # type: ignore[attr-defined]

    from mypy_boto3_s3 import S3Client

# boto3 retries a request, but not a body that breaks off while it is read.
_ATTEMPTS = 4


class RangeReader(io.RawIOBase):
    """Reads one version of one object: a replacement in the middle is an error, never a mix of both.

    Every `read` is one range request, which leaves no connection open while the caller works on what it got; wrap
    it in `io.BufferedReader` to read ahead.
    """

    def __init__(self, client: "S3Client", bucket: str, key: str, version: tuple[int, str] | None = None) -> None:
        """Find the object.

        Args:
            client: Reads from S3.
            bucket: The bucket.
            key: The key.
            version: Size in bytes and ETag of the version to read, from a listing. Default: the one that is there now.
        """
        super().__init__()
        self._client = client
        self._bucket = bucket
        self._key = key
        self._position = 0
        if version is None:
            with s3_errors_explained("s3:GetObject", bucket, key):
                head = client.head_object(Bucket=bucket, Key=key)
            version = head["ContentLength"], head["ETag"]
        self.size, self._etag = version

    def readable(self) -> bool:
        """True: it is for reading."""
        return True

    def seekable(self) -> bool:
        """True: any range can be asked for."""
        return True

    def tell(self) -> int:
        """The position in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position in bytes, without any request.

        Raises:
            ValueError: The position is before the start, or `whence` is not one of io's three.
        """
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}.get(whence)
        if base is None or base + offset < 0:
            raise ValueError(f"cannot seek to {offset} from {whence}")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: "Buffer") -> int:
        """Fill `buffer` from the position on; fewer bytes only at the end of the object."""
        view = memoryview(buffer).cast("B")
        done = self._fetch(self._position, view)
        self._position += done
        return done

    def read_range(self, start: int, length: int) -> bytes:
        """The bytes from `start` on; fewer only at the end of the object. For any number of threads at once."""
        data = bytearray(max(min(length, self.size - start), 0))
        self._fetch(start, memoryview(data))
        return bytes(data)

    def _fetch(self, position: int, view: memoryview) -> int:
        wanted = min(len(view), self.size - position)
        done = 0
        attempt = 1
        while done < wanted:
            start = position + done
            with s3_errors_explained("s3:GetObject", self._bucket, self._key):
                answer = self._client.get_object(
                    Bucket=self._bucket,
                    Key=self._key,
                    Range=f"bytes={start}-{position + wanted - 1}",
                    IfMatch=self._etag,
                )
            try:
                while piece := answer["Body"].read(1 << 20):
                    view[done : done + len(piece)] = piece
                    done += len(piece)
            except (IncompleteReadError, ReadTimeoutError, ResponseStreamingError):
                if attempt == _ATTEMPTS:
                    raise
                attempt += 1
            finally:
                answer["Body"].close()
        return max(done, 0)
