"""The header of an index: what the file is about, in a slot of 4096 bytes.

Two slots are written in turn, with generations that follow each other: one of them is always whole, and tells
whether the other one is what was written before it. The first 12 bytes and the checksum in the last 8 keep
their places in every version to come, so that an older program can say "newer" where it would otherwise say
"broken".
"""

from __future__ import annotations

import contextlib
import enum
import itertools
import struct
from typing import NamedTuple

import xxhash

from largefile.core.ranges import MAX_SIZE, num_blocks
from largefile.errors import IndexCorruptError, IndexVersionError
from largefile.rules.identity import Identity

__all__ = [
    "MAGIC",
    "MAJOR",
    "SLOTS",
    "SLOT_SIZE",
    "Chosen",
    "Header",
    "Layout",
    "State",
    "as_stored",
    "canonical_boot",
    "choose",
    "decode",
    "encode",
]

SLOT_SIZE = 4096
#: Where the two slots begin.
SLOTS = (0, 4096)
MAJOR, MINOR = 1, 1

MAGIC = b"lrgfile\n"
_TOP = struct.Struct("<8sHH")  # magic, major, minor: the same in every version
# generation, file id, content size, block size, state, clean, inode, mtime in ns, boot id, owner's pid, start
_FIXED = struct.Struct("<4xQ16sQQIIQq16sQQ")
# Since 1.1, beyond the longest strings: when the data file was made.
_ADDED = struct.Struct("<Q")
_ADDED_AT = 4000
_SUM = struct.Struct("<Q")
_SUM_AT = SLOT_SIZE - _SUM.size
_MOUNT = struct.Struct("<Q")
_MOUNT_AT = _SUM_AT - _MOUNT.size  # the strings end long before
_NONE = 0xFFFF
#: Longer strings are stored as the ``sha256:`` of themselves. The sum of all leaves room in the slot.
_LIMITS = {"etag": 1024, "last_modified": 256, "digest": 256, "url": 1024, "host": 256}
_NO_BOOT = bytes(16)
_GENERATIONS = 2**64


class State(enum.IntEnum):
    """Where a download is in its life."""

    FILLING = 1
    PUBLISHED = 2
    SUPERSEDED = 3
    POISONED = 4


class Header(NamedTuple):
    """The facts of one index; a change makes a new one with `next`."""

    content_size: int
    block_size: int
    file_id: bytes
    generation: int = 1
    state: State = State.FILLING
    etag: str | None = None
    last_modified: str | None = None
    digest: str | None = None
    #: Scheme, host and path of where it came from; never userinfo, query or fragment.
    url: str | None = None
    #: The data file. `mtime` (in ns) means something only if the last close was clean.
    inode: int = 0
    #: When it was made, in ns; 0 not known. The number of an inode is used again, this is not.
    birth: int = 0
    mtime: int = 0
    clean: bool = False
    #: The boot in which the live entries were written; "" not known.
    boot: str = ""
    #: … and the mount; 0 not known.
    mount: int = 0
    #: The last known writer.
    pid: int = 0
    started: int = 0
    host: str | None = None

    @property
    def num_blocks(self) -> int:
        return num_blocks(self.content_size, self.block_size)

    @property
    def identity(self) -> Identity:
        return Identity(self.etag, self.last_modified, self.content_size, self.digest)

    @property
    def owner(self) -> str:
        return f"pid {self.pid} on {self.host}" if self.pid else "not known"

    def next(self, **changes: object) -> Header:
        generation = (self.generation + 1) % _GENERATIONS
        return self._replace(generation=generation, **changes)  # type: ignore[arg-type]

    def follows(self, other: Header) -> bool:
        """Whether this was written in turn after `other`."""
        return self.generation == (other.generation + 1) % _GENERATIONS and self.file_id == other.file_id


class Chosen(NamedTuple):
    """The header in force."""

    header: Header
    #: 0 or 1.
    slot: int
    #: Whether it is known to be the last that was written: the other slot has the one before it.
    certain: bool


class Layout(NamedTuple):
    """Where the tables of an index begin, and its whole size."""

    live: int
    durable: int
    size: int

    @classmethod
    def of(cls, blocks: int) -> Layout:
        live = 2 * SLOT_SIZE
        durable = _page_up(live + 8 * blocks)
        return cls(live, durable, _page_up(durable + 8 * blocks))


def as_stored(identity: Identity) -> Identity:
    """`identity` as an index gives it back: over-long strings as their ``sha256:``."""
    return Identity(
        _squeeze("etag", identity.etag),
        _squeeze("last_modified", identity.last_modified),
        identity.size,
        _squeeze("digest", identity.digest),
    )


def canonical_boot(boot: str) -> str:
    """A boot id as a header gives it back."""
    return _boot_text(_boot_bytes(boot))


def encode(header: Header) -> bytes:
    """The slot's 4096 bytes."""
    slot = bytearray(SLOT_SIZE)
    _TOP.pack_into(slot, 0, MAGIC, MAJOR, MINOR)
    fixed = (
        header.generation,
        header.file_id,
        header.content_size,
        header.block_size,
        header.state,
        header.clean,
        header.inode,
        header.mtime,
        _boot_bytes(header.boot),
        header.pid,
        header.started,
    )
    _FIXED.pack_into(slot, _TOP.size, *fixed)
    at = _TOP.size + _FIXED.size
    for name in _LIMITS:
        text = _squeeze(name, getattr(header, name))
        data = b"" if text is None else text.encode("utf-8", "surrogateescape")
        slot[at : at + 2] = (_NONE if text is None else len(data)).to_bytes(2, "little")
        slot[at + 2 : at + 2 + len(data)] = data
        at += 2 + len(data)
    _ADDED.pack_into(slot, _ADDED_AT, header.birth)
    _MOUNT.pack_into(slot, _MOUNT_AT, header.mount)
    _SUM.pack_into(slot, _SUM_AT, xxhash.xxh3_64_intdigest(slot[:_SUM_AT]))
    return bytes(slot)


def decode(slot: bytes, path: str) -> Header:
    """The header in a slot. IndexCorruptError, or IndexVersionError if a newer program made it."""
    if len(slot) != SLOT_SIZE or slot[: len(MAGIC)] != MAGIC:
        raise IndexCorruptError(path, "no header")
    if xxhash.xxh3_64_intdigest(slot[:_SUM_AT]) != _SUM.unpack_from(slot, _SUM_AT)[0]:
        raise IndexCorruptError(path, "a header with a wrong checksum")
    _, major, minor = _TOP.unpack_from(slot)
    if major != MAJOR:
        raise IndexVersionError(path, f"{major}.{minor}")
    try:
        return _decode(slot)
    except (ValueError, struct.error, IndexError) as error:
        raise IndexCorruptError(path, f"a header that says {error}") from error


def choose(first: bytes, second: bytes, path: str) -> Chosen:
    """The header that was written last.

    One slot may be torn by a crash, or still empty; when both are, the first one's fault is raised. A slot
    of a newer version is always a reason to stop: the older one beside it is out of date.

    A slot that is neither empty beside the very first header, nor the header before this one, may have held
    a later one, which said what this one does not: another boot, a failed sync, a clean end. Then this one's
    sizes and identity hold, as they are the same in all, and the rest of it proves nothing: not `certain`.
    """
    found: list[tuple[Header, int]] = []
    faults: list[IndexCorruptError] = []
    for number, slot in enumerate((first, second)):
        try:
            found.append((decode(slot, path), number))
        except IndexVersionError:
            raise
        except IndexCorruptError as error:
            faults.append(error)
    if not found:
        raise faults[0]
    if len(found) == 1:
        header, number = found[0]
        other = (second, first)[number]
        return Chosen(header, number, header.generation == 1 and not any(other))
    (one, _), (two, _) = found
    if one.follows(two) or two.follows(one):
        return Chosen(one, 0, True) if one.follows(two) else Chosen(two, 1, True)
    header, number = max(found, key=lambda each: each[0].generation)
    return Chosen(header, number, False)


def _decode(slot: bytes) -> Header:
    (generation, file_id, size, block, state, clean, inode, mtime, boot, pid, started) = _FIXED.unpack_from(
        slot, _TOP.size
    )
    if size > MAX_SIZE or not 1 <= block <= MAX_SIZE or Layout.of(num_blocks(size, block)).size > MAX_SIZE:
        raise ValueError(f"{size} bytes in blocks of {block}")
    strings: dict[str, str | None] = {}
    at = _TOP.size + _FIXED.size
    for name in _LIMITS:
        length = int.from_bytes(slot[at : at + 2], "little")
        at += 2
        if length == _NONE:
            strings[name] = None
            continue
        if length > _LIMITS[name]:
            raise ValueError(f"{length} bytes of {name}")
        strings[name] = slot[at : at + length].decode("utf-8", "surrogateescape")
        at += length
    return Header(
        content_size=size,
        block_size=block,
        file_id=file_id,
        generation=generation,
        state=State(state),
        clean=bool(clean),
        inode=inode,
        birth=_ADDED.unpack_from(slot, _ADDED_AT)[0],
        mtime=mtime,
        boot=_boot_text(boot),
        mount=_MOUNT.unpack_from(slot, _MOUNT_AT)[0],
        pid=pid,
        started=started,
        **strings,
    )


def _squeeze(name: str, text: str | None) -> str | None:
    if text is None:
        return None
    data = text.encode("utf-8", "surrogateescape")
    return text if len(data) <= _LIMITS[name] else "sha256:" + _sha256(data).hex()


def _sha256(data: bytes) -> bytes:
    import hashlib  # loads OpenSSL, and hardly any header needs it

    return hashlib.sha256(data).digest()


def _boot_bytes(boot: str) -> bytes:
    """A boot id as 16 bytes; one that is no UUID stands as a digest of itself."""
    if not boot:
        return _NO_BOOT
    with contextlib.suppress(ValueError):
        found = bytes.fromhex(boot.replace("-", ""))
        if len(found) == len(_NO_BOOT):
            return found
    return _sha256(boot.encode())[:16]


def _boot_text(boot: bytes) -> str:
    digits = boot.hex()
    ends = (0, 8, 12, 16, 20, 32)
    return "" if boot == _NO_BOOT else "-".join(digits[a:b] for a, b in itertools.pairwise(ends))


def _page_up(size: int) -> int:
    return (size + SLOT_SIZE - 1) // SLOT_SIZE * SLOT_SIZE
