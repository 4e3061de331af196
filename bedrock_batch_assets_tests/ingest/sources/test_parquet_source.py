import base64
import decimal
import gzip
import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow.parquet import encryption

from bedrock_batch_assets.errors import RequestError
from bedrock_batch_assets.ingest.sources import parquet_source
from bedrock_batch_assets.ingest.sources.parquet_source import ParquetSource
from bedrock_batch_assets_tests.parquet.arrow_columns import typed_columns
from bedrock_batch_assets_tests.parquet.crafted_files import annotated, parquet
from bedrock_batch_assets_tests.records.generated_columns import plain_values


def source(**files: bytes) -> ParquetSource:
    return ParquetSource(list(files), lambda name: io.BytesIO(files[name]))


def read(**files: bytes) -> pa.Table:
    opened = source(**files)
    return pa.Table.from_batches(opened.batches(), schema=opened.schema)


NUMBERS = pa.table({"id": pa.array(range(2_500)), "text": [f"row {row}" for row in range(2_500)]})


def test_files_follow_one_another() -> None:
    """The rows of several files are one table, in the order of the files."""
    assert read(a=parquet(NUMBERS.slice(0, 1_700)), b=parquet(NUMBERS.slice(1_700))) == NUMBERS


@pytest.mark.parametrize("row_group_size", [100, 2_500])
def test_batches_are_bounded_in_bytes(row_group_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large rows make short batches, and all rows arrive, whatever the row groups are."""
    monkeypatch.setattr(parquet_source, "_BATCH_BYTES", 10_000)
    table = pa.table({"text": [f"{row:0100d}" for row in range(2_500)], "id": range(2_500)})
    opened = source(a=parquet(table, row_group_size=row_group_size))
    batches = list(opened.batches())
    assert max(batch.nbytes for batch in batches) < 40_000
    assert pa.Table.from_batches(batches) == table


@pytest.mark.parametrize("name", typed_columns())
def test_types_are_kept(name: str) -> None:
    """Every type comes out as it is in the file."""
    table = pa.table({name: typed_columns()[name]})
    assert read(a=parquet(table)).equals(table)


def test_metadata_of_the_file_is_dropped() -> None:
    """What pandas or a dataset library noted about the file does not go into the result."""
    table = NUMBERS.replace_schema_metadata({"pandas": "{}", "huggingface": "{}"})
    assert source(a=parquet(table)).schema.metadata is None


def test_column_order_may_differ_between_files() -> None:
    """Columns are matched by name."""
    table = NUMBERS.slice(0, 10)
    assert read(a=parquet(table), b=parquet(table.select(["text", "id"]))) == pa.concat_tables([table, table])


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (NUMBERS.select(["id"]), "b has no column 'text', which a has"),
        (NUMBERS.append_column("extra", NUMBERS["id"]), "b has a column 'extra', which a has not"),
        (NUMBERS.set_column(0, "id", NUMBERS["id"].cast("string")), "'id' is string in b and int64 in a"),
        (NUMBERS.set_column(0, "id", NUMBERS["id"].cast("double")), "'id' is double in b and int64 in a"),
        (NUMBERS.set_column(0, "id", NUMBERS["id"].cast("uint64")), "'id' is uint64 in b and int64 in a"),
        (NUMBERS.set_column(1, "text", NUMBERS["text"].cast("binary")), "'text' is binary in b and string in a"),
    ],
)
def test_files_with_other_columns_are_refused(other: pa.Table, words: str) -> None:
    """The message names both files, the column, and both types, before a row is read."""
    with pytest.raises(RequestError, match=words):
        source(a=parquet(NUMBERS), b=parquet(other))


TEXTS = ["a", None, "b"]
POINT = pa.struct([pa.field("x", pa.int32(), nullable=False), pa.field("tag", pa.string())])
# Two ways to say the same, and the type of the table.
SAME = {
    "null": (pa.nulls(3), pa.array(TEXTS), pa.string()),
    "large": (pa.array(TEXTS, pa.large_string()), pa.array(TEXTS), pa.large_string()),
    "view": (pa.array(TEXTS, pa.string_view()), pa.array(TEXTS), pa.large_string()),
    "bytes": (pa.array([b"a", None], pa.binary_view()), pa.array([b"b"], pa.large_binary()), pa.large_binary()),
    "dictionary": (pa.array(TEXTS).dictionary_encode(), pa.array(TEXTS), pa.string()),
    "dictionaries": (
        pa.array(TEXTS).dictionary_encode(),
        pa.array(["c"], pa.large_string()).dictionary_encode(),
        pa.dictionary(pa.int32(), pa.string()),
    ),
    "integers": (pa.array([1, None], pa.int32()), pa.array([2**40], pa.int64()), pa.int64()),
    "unsigned": (pa.array([255], pa.uint8()), pa.array([-1], pa.int16()), pa.int16()),
    "floats": (pa.array([0.5], pa.float32()), pa.array([0.1], pa.float64()), pa.float64()),
    "decimals": (
        pa.array([decimal.Decimal("1.50")], pa.decimal128(5, 2)),
        pa.array([decimal.Decimal("-1.50")], pa.decimal256(50, 2)),
        pa.decimal256(50, 2),
    ),
    "times": (pa.array([1], pa.timestamp("ms", "UTC")), pa.array([2], pa.timestamp("us", "UTC")), None),
    "clock": (pa.array([1], pa.time32("ms")), pa.array([2], pa.time64("ns")), pa.time64("ns")),
    "items": (
        pa.array([[1], None], pa.list_(pa.field("item", pa.int32(), nullable=False))),
        pa.array([[2, None]], pa.large_list(pa.field("element", pa.int64()))),
        pa.large_list(pa.int64()),
    ),
    "fields": (
        pa.array([{"x": 1, "tag": "a"}, None], POINT),
        pa.array([{"tag": None, "x": None}], pa.struct([("tag", pa.large_string()), ("x", pa.int64())])),
        None,
    ),
    "map": (
        pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int8())),
        pa.array([[("b", None)], None], pa.map_(pa.string(), pa.int16())),
        pa.map_(pa.string(), pa.int16()),
    ),
    "json": (pa.ExtensionArray.from_storage(pa.json_(), pa.array(["{}"])), pa.array(["[]"]), pa.string()),
}


@pytest.mark.parametrize("name", SAME)
def test_parts_that_say_the_same_in_two_ways_are_one_table(name: str) -> None:
    """Nullable or not, wide or narrow, with a dictionary or without: no value changes, whichever part comes first."""
    one, other, kind = SAME[name]
    tables = {"a": pa.table({"v": one, "id": [0] * len(one)}), "b": pa.table({"id": [1] * len(other), "v": other})}
    for names in ("ab", "ba"):
        table = read(**{part: parquet(tables[part]) for part in names})
        assert kind is None or table.schema.field("v").type == kind
        written = {part: plain_values(tables[part].column("v").combine_chunks()) for part in names}
        assert plain_values(table.column("v").combine_chunks()) == written[names[0]] + written[names[1]]


def test_a_column_may_be_null_in_one_part_alone() -> None:
    """A part that says it has no nulls goes with one that has some: the column is nullable, in either order."""
    strict = pa.table({"t": ["a"]}, schema=pa.schema([pa.field("t", pa.string(), nullable=False)]))
    loose = pa.table({"t": pa.array([None], pa.string())})
    for parts in ((strict, loose), (loose, strict)):
        table = read(a=parquet(parts[0]), b=parquet(parts[1]))
        assert table.schema.field("t").nullable
        assert sorted(table.column("t").to_pylist(), key=str) == [None, "a"]
    assert not read(a=parquet(strict), b=parquet(strict)).schema.field("t").nullable


def test_a_value_that_the_wider_type_has_no_room_for_is_refused() -> None:
    """Milliseconds of the year 10,000 have no nanoseconds: the message names file, column and row."""
    parts = {
        "a": parquet(pa.table({"at": pa.array([1], pa.timestamp("ns"))})),
        "b": parquet(pa.table({"at": pa.array([0, 253_402_300_800_000], pa.timestamp("ms"))})),
    }
    with pytest.raises(RequestError, match=r"^b: column 'at' of type timestamp\[ms\], row 2 .*timestamp\[ns\]"):
        read(**parts)


def test_only_the_parts_that_are_needed_are_opened() -> None:
    """A bound on the rows spares the footers of the parts beyond it."""
    files = {f"{number:03d}": parquet(NUMBERS.slice(0, 10)) for number in range(100)}
    opened: list[str] = []

    def open_file(name: str) -> io.BytesIO:
        opened.append(name)
        return io.BytesIO(files[name])

    ParquetSource(list(files), open_file, max_rows=25)
    assert set(opened) <= set(list(files)[:8])


# parquet.thrift, `ConvertedType` and, for the first, `LogicalType`.
ENUM, INTERVAL = 4, 21


def test_what_arrow_leaves_out_of_a_parquet_type_is_put_back() -> None:
    """Names of enums, which Arrow gives as bytes, and intervals come out as texts, at any depth."""
    table = pa.table({"state": pa.array([b"ACTIVE", None]), "states": pa.array([[b"A", b"\xc3\x84"], []])})
    data = annotated(annotated(parquet(table, store_schema=False), 1, ENUM, ENUM), 4, ENUM)
    assert read(a=data).to_pylist() == [{"state": "ACTIVE", "states": ["A", "Ä"]}, {"state": None, "states": []}]
    spans = [(14, 3, 14_405_500), (0, 0, 0), (0, 0, 60_000), (1, 0, 0)]
    stored = [b"".join(number.to_bytes(4, "little") for number in span) for span in spans]
    data = annotated(
        parquet(pa.table({"wait": pa.array([*stored, None], pa.binary(12))}), store_schema=False), 1, 0, INTERVAL
    )
    assert read(a=data).column("wait").to_pylist() == ["P14M3DT14405.5S", "PT0S", "PT60S", "P1M", None]


def test_an_enum_that_is_no_text_is_refused() -> None:
    """The message names file, column and row."""
    data = annotated(parquet(pa.table({"state": pa.array([b"A", b"\xff"])}), store_schema=False), 1, ENUM, ENUM)
    with pytest.raises(RequestError, match=r"a: column 'state' of type binary, row 2 .*UTF8"):
        read(a=data)


def test_a_variant_is_refused() -> None:
    """In the result it would be bytes that nobody can read. The message names the column."""
    kind = pa.struct(
        [pa.field("metadata", pa.binary(), nullable=False), pa.field("value", pa.binary(), nullable=False)]
    )
    table = pa.table({"id": [1], "event": pa.array([{"metadata": b"\x01\x00\x00", "value": b"\x00"}], kind)})
    with pytest.raises(RequestError, match=r"a: column 'event' is of Parquet's type VARIANT.*JSON"):
        read(a=annotated(parquet(table, store_schema=False), 2, 16))


WHOLE = parquet(NUMBERS, row_group_size=1_000)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", r"a is empty \(0 bytes\): upload"),
        (b"id,v\n1,2\n", r"a is not a Parquet file, but text that begins with 'id,v': name it .csv if it is CSV"),
        ("ünïcode,v\n".encode() * 99, r"a is not a Parquet file, but text that begins with 'ünïcode,v'"),
        (gzip.compress(b"id,v\n1,2\n", mtime=0), r"a is not a Parquet file: it is a gzip file: unpack it"),
        (b"PK\x03\x04" + bytes(99), r"a is not a Parquet file: it is a zip archive"),
        (b"version https://git-lfs.github.com/spec/v1\noid", r"a pointer of Git LFS and not the file itself"),
        (bytes(range(256)), r"a is not a Parquet file \("),
        (b"PAR1", r"a (is a Parquet file without its end|is damaged, in its Parquet footer)"),
        (b"\x80", "a is not a Parquet file"),
        (WHOLE[:-20], r"a is a Parquet file without its end \(of [\d,]+ bytes\): it was cut off; upload it again"),
        (WHOLE[: len(WHOLE) // 2], "a is a Parquet file without its end"),
        (WHOLE[:-8] + (2**31 - 1).to_bytes(4, "little") + b"PAR1", "a is damaged, in its Parquet footer"),
        (WHOLE[:-300] + b"\xff" * 292 + WHOLE[-8:], "a is damaged, in its Parquet footer"),
        (WHOLE[:-4] + b"PARE", "a is an encrypted Parquet file: write it without encryption"),
        (WHOLE[:4] + bytes(3_000) + WHOLE[3_004:], r"a is damaged: column 'id' cannot be read \(.*\). Write it again"),
    ],
)
def test_what_is_not_parquet_is_refused(data: bytes, words: str) -> None:
    """Empty, other, cut, encrypted and damaged files are named in one line, which says what to do."""
    with pytest.raises(RequestError, match=words) as caught:
        read(a=data)
    assert "\n" not in str(caught.value)


def refusal(data: bytes) -> str | None:
    """What is wrong with a file; None if it can be read."""
    try:
        read(a=data)
    except RequestError as error:
        return str(error)
    return None


class _Keys(encryption.KmsClient):  # type: ignore[misc]
    """Wraps no key at all."""

    def __init__(self, _: object) -> None:
        super().__init__()

    def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> bytes:
        return base64.b64encode(key_bytes)

    def unwrap_key(self, wrapped_key: str, master_key_identifier: str) -> bytes:
        return base64.b64decode(wrapped_key)


@pytest.mark.parametrize(
    ("has_plain_footer", "words"),
    [(False, "a is an encrypted Parquet file"), (True, "a is encrypted: column 'secret' cannot be read")],
)
def test_encrypted_files_are_told_from_damaged_ones(has_plain_footer: bool, words: str) -> None:
    """With a plain footer it is the column that cannot be read, and it is named."""
    table = pa.table({"topic": ["rain"], "secret": ["x"]})
    configuration = encryption.EncryptionConfiguration(
        footer_key="footer", column_keys={"column": ["secret"]}, plaintext_footer=has_plain_footer
    )
    keys = encryption.CryptoFactory(_Keys)
    properties = keys.file_encryption_properties(encryption.KmsConnectionConfig(), configuration)
    file = io.BytesIO()
    with pq.ParquetWriter(file, table.schema, encryption_properties=properties) as writer:
        writer.write_table(table)
    with pytest.raises(RequestError, match=words):
        read(a=file.getvalue())


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_a_damaged_file_is_one_line_or_still_right(data: st.DataObject) -> None:
    """Whatever bytes are changed in the footer, there is a RequestError that names the file, or there are rows."""
    damaged = bytearray(WHOLE)
    size = int.from_bytes(WHOLE[-8:-4], "little")
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(len(WHOLE) - 8 - size, len(WHOLE) - 9))
        damaged[place] = data.draw(st.integers(0, 255))
    message = refusal(bytes(damaged)) or "a "
    assert message.startswith(("a ", "a: "))
    assert "\n" not in message


def test_an_error_while_fetching_stays_what_it_is() -> None:
    """A connection that breaks is not taken for a damaged file."""

    class Broken(io.BytesIO):
        broken = False

        def read(self, size: int | None = -1) -> bytes:
            if self.broken:
                raise ConnectionResetError("peer")
            return super().read(size)

    file = Broken(parquet(NUMBERS))
    opened = ParquetSource(["a"], lambda _: file)
    file.broken = True
    with pytest.raises(ConnectionResetError):
        list(opened.batches())
