"""The index of a cache, mutated anywhere, and the Go package's text: what was not sealed is not believed."""

from __future__ import annotations

import os
import struct
import tempfile
from functools import cache
from pathlib import Path

import xxhash
from harness import Harness, decoded

from largefile.core.byteranges import ByteRanges, ByteRangesTracker
from largefile.core.index_text import parse_index_text, write_index_text
from largefile.disk.files import LocalFile
from largefile.disk.header import SLOT_SIZE, SLOTS, Header, choose, decode, encode
from largefile.disk.index import Index
from largefile.disk.recovery import Facts, believe, recover
from largefile.errors import CacheError, IndexCorruptError
from largefile.rules.identity import Identity

BLOCK, BLOCKS = 64, 16
CONTENT = bytes(range(256)) * 4
BOOT = "11111111-2222-3333-4444-555555555555"
#: Live and durable, live only, and so on: block numbers that are sealed in the index that is mutated.
LIVE, DURABLE = {0, 1, 2, 5, 15}, {0, 1, 2, 7}
MUTATION = struct.Struct("<HB")


def header(data: bytes) -> None:
    """One slot: `data` over a good one; its checksum is made right where the first byte is odd."""
    slot = bytearray(encode(Header(1024, BLOCK, bytes(16), etag='"v1"', url="http://h/x", host="here")))
    piece = data[1:SLOT_SIZE]
    slot[: len(piece)] = piece if data[:1] and data[0] & 2 else bytes(slot[:12]) + piece[12:]
    if data and data[0] & 1:
        seal(slot, 0)
    try:
        found = decode(bytes(slot), "x")
    except IndexCorruptError:
        return
    assert decode(encode(found), "x") == found
    assert choose(bytes(slot), bytes(SLOT_SIZE), "x") == (found, 0, found.generation == 1)
    assert isinstance(found.identity, Identity)
    assert found.owner
    assert found.num_blocks >= 0


def seal(raw: bytearray, at: int) -> None:
    """Make the checksum of a slot right."""
    end = at + SLOT_SIZE - 8
    raw[end : end + 8] = struct.pack("<Q", xxhash.xxh3_64_intdigest(bytes(raw[at:end])))


def index(data: bytes) -> None:
    """A whole index, opened over the bytes that it is of: what is believed was sealed, and is right."""
    flags, data = (data[0], data[1:]) if data else (0, b"")
    raw = mutated(bytearray(good_index()), data)
    for slot in (0, 1):
        if flags & 1 << slot and len(raw) >= SLOTS[slot] + SLOT_SIZE:
            seal(raw, SLOTS[slot])
    files = index_file, content = scratch()
    for file, found in zip(files, (raw, CONTENT), strict=True):
        os.ftruncate(file.fd, 0)
        os.pwrite(file.fd, found, 0)
    facts = Facts(BOOT if flags & 4 else "", inode=1 if flags & 8 else 2, mtime=3)
    try:
        check_opened(index_file, content, facts, writable=bool(flags & 16))
    except CacheError:
        return


def check_opened(index_file: LocalFile, content: LocalFile, facts: Facts, writable: bool) -> None:
    opened = Index.open(index_file, writable=writable)
    try:
        if opened.header.content_size > len(CONTENT):
            return  # the data file would be of another size, which is asked before
        belief = (
            recover(opened, content, facts) if writable else believe(opened, content, facts, repair=False)
        )
        believed = {block for start, stop in belief.believed.runs_set() for block in range(start, stop)}
        assert believed <= LIVE | DURABLE
        if writable:
            assert opened.refresh().boot == facts.boot
    finally:
        opened.release()


def mutated(raw: bytearray, data: bytes) -> bytearray:
    """`data` is a list of (where, how many, bytes); a length of 0 cuts the file there, 255 lengthens it."""
    at = 0
    while at + MUTATION.size <= len(data):
        where, size = MUTATION.unpack_from(data, at)
        at += MUTATION.size
        if size == 0:
            del raw[where:]
        elif size == 255:
            raw.extend(bytes(where))
        else:
            piece = data[at : at + size]
            raw[where : where + len(piece)] = piece
            at += len(piece)
    return raw


@cache
def scratch() -> tuple[LocalFile, LocalFile]:
    """Two real files without a name."""
    folder = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    made = [tempfile.mkstemp(dir=folder) for _ in range(2)]
    for _, path in made:
        Path(path).unlink()
    return tuple(LocalFile(path, descriptor) for descriptor, path in made)


@cache
def good_index() -> bytes:
    index_file, _ = scratch()
    first = Header(
        len(CONTENT), BLOCK, b"0123456789abcdef", etag='"v1"', boot=BOOT, inode=1, url="http://h/x"
    )
    Index.create(index_file, first)
    opened = Index.open(index_file, writable=True)
    for block in sorted(LIVE | DURABLE):
        opened.seal(block, xxhash.xxh3_64_intdigest(CONTENT[block * BLOCK :][:BLOCK]))
        if block in DURABLE:
            opened.make_durable(block, block + 1)
    opened.live.keep_only(bits(LIVE))
    opened.write_header(pid=7, host="here")
    opened.release()
    return index_file.read_at(1 << 20, 0)


def bits(blocks: set[int]) -> object:
    tracker = ByteRangesTracker(len(CONTENT), BLOCK)
    for block in blocks:
        tracker.set(block * BLOCK)
    return tracker.bitmap


def go_text(data: bytes) -> None:
    """Go's JSON, as text and as bytes."""
    for text in (data, decoded(data)):
        try:
            size, block_size, words = parse_index_text(text)
        except ValueError:
            continue
        assert parse_index_text(write_index_text(size, block_size, words)) == (size, block_size, words)
        ranges = ByteRanges.from_json(text)
        assert ranges.content_length == size
        assert ranges.count == sum(word.bit_count() for word in words)


HARNESSES = [
    Harness(
        "index-header",
        header,
        (b"\x00", b"\x01", b"\x03" + encode(Header(10, 4, bytes(16)))[:200], b"\x01" + bytes(200)),
        (b"lrgfile\n", b"\xff\xff", b"\x00\x04", bytes(8), b"\xff" * 8),
    ),
    Harness(
        "index-file",
        index,
        (
            *(bytes([flags]) for flags in (0, 7, 15, 19, 31)),
            *(bytes([flags]) + MUTATION.pack(40, 8) + b"\xff" * 8 for flags in (0, 7, 15, 19, 31)),
            b"\x1f" + MUTATION.pack(8192, 8) + b"\xff" * 8,
            b"\x13" + MUTATION.pack(9000, 0),
            b"\x1c" + MUTATION.pack(1, 255),
        ),
        (MUTATION.pack(8192, 8), MUTATION.pack(12288, 16), MUTATION.pack(4096, 40), bytes(8), b"\xff" * 8),
    ),
    Harness(
        "go-index",
        go_text,
        (
            b'{"content_size":"1010","block_size":250,"ranges":["b"]}',
            b'{"content_size":"0","block_size":1,"ranges":[]}',
            b'{"content_size":"100","block_size":1,"ranges":["ffffffffffffffff","fffffffff"]}',
        ),
        (
            b'"content_size":',
            b'"block_size":',
            b'"ranges":',
            b"[",
            b"]",
            b"{",
            b"}",
            b'"',
            b"1e9",
            b"NaN",
            b"-",
            b"9223372036854775807",
        ),
    ),
]
