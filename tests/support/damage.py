"""A partial file whose index can be damaged in many ways, and what must be kept of it in each."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field
from pathlib import Path

import xxhash
from disk_helpers import OtherBoot, block_of, leave, names, noise, present, put, reopen

from largefile.core.entries import seal_of
from largefile.disk.cache import LocalDownloadCache
from largefile.disk.fileops import REAL
from largefile.disk.header import SLOT_SIZE, Header, Layout, choose, decode, encode
from largefile.disk.index import durable_id
from largefile.errors import LargeFileError
from largefile.rules.identity import Identity

#: Whole pages: others are never believed unread after another boot.
BLOCK, BLOCKS = 4096, 16
SIZE = (BLOCKS - 1) * BLOCK + 1000
CONTENT = noise(SIZE)
URL = "https://example.org/a/file"
DATE = "Wed, 21 Oct 2015 07:28:00 GMT"
LAYOUT = Layout.of(BLOCKS)
#: Synced, entered in the live table only, and never there.
DURABLE, LIVE, ABSENT = {0, 1, 2, 3, 8, 9, 15}, {4, 5, 6, 10}, {7, 11, 12, 13, 14}
#: What a power loss takes of `LIVE`.
LOST = {6}

BOOTS = {"same boot": REAL, "another boot": OtherBoot()}


@dataclass
class Scene:
    """Two files as a run has left them, which are put back before each opening."""

    base: Path
    index: bytes
    data: bytes
    mtime: int
    lost: set[int] = field(default_factory=set)  #: whose bytes are damaged at this moment
    header: Header = field(init=False)
    #: The right entry of each block, in the live and in the durable table.
    right: list[tuple[int, int]] = field(init=False)

    def __post_init__(self) -> None:
        self.header = choose(*self.slots(self.index), "x").header
        hashes = [xxhash.xxh3_64_intdigest(block_of(CONTENT, BLOCK, block)) for block in range(BLOCKS)]
        ids = self.header.file_id, durable_id(self.header.file_id)
        self.right = [
            (seal_of(ids[0], block, content), seal_of(ids[1], block, content))
            for block, content in enumerate(hashes)
        ]

    @staticmethod
    def slots(index: bytes) -> tuple[bytes, bytes]:
        return index[:SLOT_SIZE], index[SLOT_SIZE : 2 * SLOT_SIZE]

    @property
    def newer(self) -> int:
        """The slot of the header in force."""
        return choose(*self.slots(self.index), "x").slot

    def put_back(self, index: bytes, lost: set[int]) -> None:
        data_path, index_path = names(self.base)
        Path(index_path).write_bytes(index)
        if lost != self.lost:  # nothing else changes the data
            data, self.lost = bytearray(self.data), lost
            for block in lost:
                data[block * BLOCK : block * BLOCK + 8] = b"\xee" * 8
            with Path(data_path).open("r+b") as file:
                file.write(data)
        os.utime(data_path, ns=(self.mtime, self.mtime))

    def opened(self, index: bytes, boot: str, *, read_only: bool) -> set[int] | type[LargeFileError]:
        """What is believed of `index` now, each block of it compared with the content; or the typed error,
        by which the file was left as it is."""
        lost = LOST if boot == "another boot" else set()
        self.put_back(index, lost)
        try:
            cache = reopen(self.base, read_only=read_only, ops=BOOTS[boot])
        except LargeFileError as error:
            assert Path(names(self.base)[1]).read_bytes() == index
            return type(error)
        try:
            found = present(cache)
            for block in found:
                piece = block_of(CONTENT, BLOCK, block)
                assert cache.read_at(len(piece), block * BLOCK) == piece, f"a wrong byte in block {block}"
        finally:
            cache.close() if read_only else leave(cache)
        if read_only:
            assert Path(names(self.base)[1]).read_bytes() == index
        return found

    def vouched(self, index: bytes, boot: str, *, read_only: bool) -> set[int]:
        """What must be kept, by the tables alone.

        A writer keeps every block for which either table still has the right entry, and whose bytes are
        there. A reader does not read: in the boot of the writing it believes live entries, in another one
        those whose two entries agree; but if the last header was lost it must read as well. An entry in the
        other table's place is no right one.
        """
        live, durable = (struct.unpack_from(f"<{BLOCKS}Q", index, at) for at in (LAYOUT.live, LAYOUT.durable))
        lost = LOST if boot == "another boot" else set()
        alive = {block for block in range(BLOCKS) if live[block] == self.right[block][0]}
        synced = {block for block in range(BLOCKS) if durable[block] == self.right[block][1]}
        if not read_only or set(self.slots(index)) != set(self.slots(self.index)):
            return (alive | synced) - lost
        return alive if boot == "same boot" else alive & synced


def make_scene(base: Path, end: str) -> Scene:
    """A download of two runs. It ends as kill -9 does ("killed"), or closed cleanly ("closed").

    So of the two headers, all of whose strings are set, one says "clean, with this mtime" and the other one
    "being written", in either order.
    """
    data_path, index_path = names(base)
    digest = "sha256:" + "5" * 64
    who = Identity('"v1"', DATE, SIZE, digest)
    LocalDownloadCache.create(data_path, index_path, SIZE, BLOCK, identity=who, url=URL).close()
    with Path(data_path).open("r+b") as file:
        file.write(b"\xee" * SIZE)  # what was never there is not even zeros
    cache = reopen(base)
    put(cache, CONTENT, *DURABLE)
    cache.commit()
    put(cache, CONTENT, *LIVE)
    if end == "closed":
        cache.durable = False
        cache.close()
    else:
        leave(cache)
    found = Path(data_path).stat()
    return Scene(base, Path(index_path).read_bytes(), Path(data_path).read_bytes(), found.st_mtime_ns)


def flipped(index: bytes, bit: int) -> bytes:
    raw = bytearray(index)
    raw[bit // 8] ^= 1 << bit % 8
    return bytes(raw)


def with_slot(index: bytes, slot: int, page: bytes) -> bytes:
    return index[: slot * SLOT_SIZE] + page + index[(slot + 1) * SLOT_SIZE :]


def resealed(slot: bytes, **changes: object) -> bytes:
    """A header slot that says something else, with a right checksum."""
    header = decode(slot, "x")
    return encode(header._replace(**changes))
