"""What reads files reads these: archives, arrays, tables, by a few requests for the parts that are used."""

from __future__ import annotations

import csv
import gzip
import io
import json
import lzma
import tarfile
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from remote_tools import asked, noise, opened, reading, sent

from largefile.testing.server import LoopbackServer

MEMBERS = {f"member-{n:02}": noise(100_000 + 977 * n, seed=n) for n in range(40)}


@pytest.fixture(scope="module")
def zipped():
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in MEMBERS.items():
            archive.writestr(name, content)
    return target.getvalue()


@pytest.fixture(scope="module")
def tarred():
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, content in MEMBERS.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return target.getvalue()


@pytest.fixture(scope="module")
def table():
    rows = 400_000
    rng = np.random.default_rng(7)
    return pa.table(
        {
            "number": pa.array(range(rows)),
            "noise": pa.array(rng.random(rows)),
            "words": pa.array([f"word {n % 1000}" for n in range(rows)]),
        }
    )


@pytest.fixture(scope="module")
def parquet(table):
    target = io.BytesIO()
    pq.write_table(table, target, row_group_size=100_000)
    return target.getvalue()


# --- archives --------------------------------------------------------------------------------------


def test_a_zip_archive_reads_member_by_member(zipped):
    with reading(zipped) as (file, server), zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == MEMBERS
        assert sent(server) == len(zipped), "no byte came twice"


def test_one_member_of_a_zip_archive_takes_a_few_requests(zipped):
    with reading(zipped) as (file, server), zipfile.ZipFile(file) as archive:
        assert archive.read("member-20") == MEMBERS["member-20"]
        assert len(server.requests) <= 8
        assert sent(server) < len(zipped) / 4


def test_a_tar_archive_reads_in_any_order(tarred):
    with reading(tarred) as (file, server), tarfile.open(fileobj=file) as archive:
        names = archive.getnames()
        assert names == list(MEMBERS)
        for name in reversed(names):
            with archive.extractfile(name) as member:
                assert member.read() == MEMBERS[name]
        assert sent(server) == len(tarred)


def test_a_compressed_stream_is_read_through():
    text = b"".join(b"line %d\n" % n for n in range(200_000))
    for pack, module in [(gzip.compress, gzip), (lzma.compress, lzma)]:
        with reading(pack(text)) as (file, _), module.open(file) as unpacked:
            assert unpacked.read() == text


def test_a_text_wrapper_reads_lines():
    rows = [[str(n), f"value ü {n}"] for n in range(30_000)]
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    with reading(text.getvalue().encode()) as (file, _):
        assert list(csv.reader(io.TextIOWrapper(file, "utf-8", newline=""))) == rows


def test_json_is_loaded():
    value = {"numbers": list(range(50_000)), "text": "ü" * 1000}
    with reading(json.dumps(value).encode()) as (file, _):
        assert json.load(file) == value


# --- arrays ----------------------------------------------------------------------------------------


def test_numpy_loads_an_array():
    array = np.random.default_rng(1).random((1000, 300))
    target = io.BytesIO()
    np.save(target, array)
    with reading(target.getvalue()) as (file, server):
        assert np.array_equal(np.load(file), array)
        assert sent(server) == len(target.getvalue())


def test_numpy_loads_one_array_of_many(tmp_path):
    arrays = {f"a{n}": np.random.default_rng(n).random((200, 300)) for n in range(10)}
    np.savez(tmp_path / "arrays.npz", **arrays)
    content = (tmp_path / "arrays.npz").read_bytes()
    with reading(content) as (file, server):
        with np.load(file) as found:
            assert np.array_equal(found["a7"], arrays["a7"])
            assert sent(server) < len(content) / 2
            assert all(np.array_equal(found[name], arrays[name]) for name in arrays)


def test_rows_of_an_array_are_read_in_place_as_a_map_of_the_file_would_give_them():
    array = np.arange(4_000_000, dtype="<i4").reshape(4000, 1000)
    target = io.BytesIO()
    np.save(target, array)
    with reading(target.getvalue()) as (file, server):
        assert np.lib.format.read_magic(file) == (1, 0)
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        start, row = file.tell(), np.empty(shape[1], dtype)
        assert not fortran
        for number in (3999, 0, 2000):
            assert file.readinto_at(row, start + number * row.nbytes) == row.nbytes
            assert np.array_equal(row, array[number])
        assert sent(server) < 5 * (128 << 10)


def test_numpy_takes_what_a_read_gives():
    array = np.random.default_rng(2).integers(0, 1 << 60, 100_000)
    with reading(array.tobytes()) as (file, _):
        assert np.array_equal(
            np.frombuffer(file.read_at(8 * 500, 8 * 70_000), np.int64), array[70_000:70_500]
        )
        parts = file.read_ranges([(0, 80), (8 * 99_990, 8 * 100_000)])
        assert np.array_equal(np.frombuffer(b"".join(parts), np.int64), np.r_[array[:10], array[-10:]])


# --- tables ----------------------------------------------------------------------------------------


def test_pyarrow_reads_a_table(table, parquet):
    with reading(parquet) as (file, server):
        assert pq.read_table(file).equals(table)
        assert sent(server) <= len(parquet)


def test_pyarrow_reads_one_column_and_fetches_little_else(table, parquet):
    with reading(parquet) as (file, server):
        assert pq.read_table(file, columns=["number"]).equals(table.select(["number"]))
        assert sent(server) < len(parquet) * 0.8


def test_pyarrow_reads_one_group_of_rows(table, parquet):
    with reading(parquet) as (file, server):
        group = pq.ParquetFile(file).read_row_group(2)
        assert group.equals(table.slice(200_000, 100_000))
        assert sent(server) < len(parquet) / 2
        assert len(asked(server)) < 12


def test_pyarrow_reads_a_table_from_a_kept_cache_without_fetching_again(table, parquet, tmp_path):
    with LoopbackServer(parquet) as server:
        for _ in range(2):
            with opened(server, cache_dir=tmp_path) as file:
                assert pq.read_table(file).equals(table)
        assert sent(server) <= len(parquet) + 1
