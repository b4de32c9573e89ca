"""What may be on a disk when the power goes: every state that the promises of the system allow.

Of a file, what was synced is there. Each sector that was written to since then holds any of its versions, or
(a device that was writing it at that moment) garbage; pages may be torn or whole. The size is any that the
file had since then. Of the names, any of the changes since the last sync of the folder may be missing, in
whatever order they were made. A file whose sync has failed may have lost what was not on the disk by then,
for as long as nobody writes to those pages again.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random

from largefile.testing.disk.journal import Event, Lost, Names, Seen, Size, Sync, SyncNames, Write

__all__ = ["Disk", "State"]

SECTOR, PAGE = 512, 4096
#: So many changes of names are tried in every combination; of more, some combinations.
_ALL = 5


@dataclass(frozen=True, slots=True)
class State:
    """One disk as it may be found: names lead to files, files have bytes."""

    names: dict[str, int]
    files: dict[int, bytes]
    #: The times of the last changes, in ns, where anybody was told.
    mtimes: dict[int, int]
    #: So many sectors have garbage.
    shorn: int = 0

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for equal states of one disk, of which as much can be asked."""
        contents = tuple((file, hash(self.files[file])) for file in sorted(self.files))
        return tuple(sorted(self.names.items())), contents, min(self.shorn, 2)


@dataclass(slots=True)
class _Pending:
    at: int
    data: bytes
    lost: bool = False


@dataclass(slots=True)
class _File:
    """What is on the disk for sure, and what was asked for since."""

    base: bytes = b""
    now: bytearray = field(default_factory=bytearray)
    writes: list[_Pending] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    mtime: int = 0
    _versions: dict[int, list[bytes]] | None = None

    def write(self, at: int, data: bytes) -> None:
        self.now[at : at + len(data)] = data
        self.writes.append(_Pending(at, data))
        self._versions = None

    def resize(self, size: int) -> None:
        del self.now[size:]
        self.now.extend(bytes(size - len(self.now)))
        self.sizes.append(size)
        self._versions = None

    def sync(self) -> None:
        self._versions = None
        lost = [write for write in self.writes if write.lost]
        kept = bytearray(self.now)
        if lost:
            dirty = {write.at // PAGE for write in self.writes if not write.lost}
            lost = [write for write in lost if write.at // PAGE not in dirty]
            for page in {write.at // PAGE for write in lost}:  # these are clean, as far as the system knows
                start = page * PAGE
                kept[start : start + PAGE] = _padded(self.base, len(kept))[start : start + PAGE]
        self.base, self.writes, self.sizes = bytes(kept), lost, []

    def lose(self) -> None:
        """Nothing says any more that what was written until now will come to be; by pages."""
        pieces = []
        for write in self.writes:
            at = write.at
            while at < write.at + len(write.data):
                stop = min((at // PAGE + 1) * PAGE, write.at + len(write.data))
                pieces.append(_Pending(at, write.data[at - write.at : stop - write.at], lost=True))
                at = stop
        self.writes = pieces

    def versions(self) -> dict[int, list[bytes]]:
        """Of each sector that is not sure: its contents in turn, the first being the sure one."""
        if self._versions is None:
            self._versions = self._all_versions()
        return self._versions

    def _all_versions(self) -> dict[int, list[bytes]]:
        length = max([len(self.base), len(self.now), *self.sizes])
        base = _padded(self.base, length)
        found: dict[int, list[bytes]] = {}
        for write in self.writes:
            stop = write.at + len(write.data)
            for sector in range(write.at // SECTOR, -(-stop // SECTOR)):
                start = sector * SECTOR
                turns = found.setdefault(sector, [bytes(base[start : start + SECTOR])])
                first, last = max(start, write.at), min(start + SECTOR, stop)
                new = bytearray(turns[-1])
                new[first - start : last - start] = write.data[first - write.at : last - write.at]
                turns.append(bytes(new))
        return found


class Disk:
    """The files of one folder, by what is sure and what is not; `apply` each event in turn.

    Examples
    --------
    >>> from random import Random
    >>> disk = Disk({"x": 0}, {0: b"old"})
    >>> disk.apply(Write(0, 0, b"new"))
    >>> {state.files[0] for state in disk.states(Random(1), 3)} >= {b"old", b"new"}
    True
    >>> disk.apply(Sync(0))
    >>> [state.files[0] for state in disk.states(Random(1), 9)]
    [b'new']
    """

    def __init__(self, names: dict[str, int], contents: dict[int, bytes]) -> None:
        self._names = dict(names)
        self._renames: list[Names] = []
        self._files = {file: _File(content, bytearray(content)) for file, content in contents.items()}

    def apply(self, event: Event) -> None:
        """One operation more was done."""
        match event:
            case Write():
                self._file(event.file).write(event.at, event.data)
            case Size():
                self._file(event.file).resize(event.size)
            case Sync():
                self._file(event.file).sync()
            case Lost():
                self._file(event.file).lose()
            case Names():
                self._renames.append(event)
                for _, file in event.changes:
                    if file is not None:
                        self._file(file)
            case SyncNames():
                for change in self._renames:
                    _rename(self._names, change)
                self._renames.clear()
            case Seen():
                self._file(event.file).mtime = event.mtime

    def states(self, rng: Random, count: int) -> Iterator[State]:
        """At most `count` states, none of them twice: corners and single sectors, and as many of any kind."""
        seen: set[object] = set()
        corners = self._corners(rng)
        rng.shuffle(corners)
        for turn in range(2 * count + 2 * len(corners)):
            if len(seen) == count:
                return
            state = corners.pop()() if corners and turn % 2 else self._any(rng)
            if state.key not in seen:
                seen.add(state.key)
                yield state

    # --- choices -------------------------------------------------------------------------------------

    def _corners(self, rng: Random) -> list[Callable[[], State]]:
        """All or nothing of each file, for every choice of names; all but one sector, and one alone."""
        doubtful = [file for file, facts in self._files.items() if facts.writes or facts.sizes]
        found: list[Callable[[], State]] = []
        for names in self._name_choices(rng):
            for news in itertools.product((False, True), repeat=min(len(doubtful), 4)):
                chosen = dict(zip(doubtful, news, strict=False))
                found.append(functools.partial(self._whole, names, chosen))
        names = self._named(self._renames)
        for file in doubtful:
            for sector in self._files[file].versions():
                for rest, one in itertools.product((False, True), (0, -1, None)):
                    found.append(functools.partial(self._but_one, names, file, sector, one, rest, rng))
        return found

    def _whole(self, names: dict[str, int], new: dict[int, bool]) -> State:
        files = self._files.items()
        return self._state(names, {f: bytes(a.now) if new.get(f, True) else a.base for f, a in files})

    def _but_one(
        self, names: dict[str, int], file: int, sector: int, version: int | None, rest: bool, rng: Random
    ) -> State:
        """All new or all old, but for one sector: its first or last version, or garbage (None)."""
        facts = self._files[file]
        contents = {f: bytes(a.now) if rest else a.base for f, a in self._files.items()}
        content = bytearray(facts.now if rest else _padded(facts.base, len(facts.now)))
        _put(content, sector, rng.randbytes(SECTOR) if version is None else facts.versions()[sector][version])
        return self._state(names, contents | {file: bytes(content)}, shorn=version is None)

    def _any(self, rng: Random) -> State:
        unit = rng.choice((SECTOR, PAGE))
        garbage = rng.choice((0.0, 0.0, 0.05, 0.5))
        bias = rng.random()
        names = self._named([change for change in self._renames if rng.random() < rng.choice((0.5, bias))])
        mixed = {file: _mixed(facts, rng, unit, garbage, bias) for file, facts in self._files.items()}
        shorn = sum(count for _, count in mixed.values())
        return self._state(names, {file: content for file, (content, _) in mixed.items()}, shorn)

    def _name_choices(self, rng: Random) -> Iterator[dict[str, int]]:
        if len(self._renames) <= _ALL:
            for some in itertools.product((True, False), repeat=len(self._renames)):
                yield self._named(list(itertools.compress(self._renames, some)))
            return
        yield self._named(self._renames)
        for cut in range(len(self._renames)):
            yield self._named(self._renames[:cut])
            yield self._named(self._renames[:cut] + self._renames[cut + 1 :])
        for _ in range(2**_ALL):
            yield self._named([change for change in self._renames if rng.random() < 0.5])

    def _named(self, changes: list[Names]) -> dict[str, int]:
        names = dict(self._names)
        for change in changes:
            _rename(names, change)
        return names

    def _state(self, names: dict[str, int], contents: dict[int, bytes], shorn: int = 0) -> State:
        there = set(names.values())
        mtimes = {file: self._files[file].mtime for file in there}
        return State(names, {file: contents[file] for file in there}, mtimes, shorn)

    def _file(self, file: int) -> _File:
        return self._files.setdefault(file, _File())


def _mixed(facts: _File, rng: Random, unit: int, garbage: float, bias: float) -> tuple[bytes, int]:
    """Each sector, or each page, of an age of its own; and how many have garbage."""
    size = rng.choice([len(facts.base), *facts.sizes]) if facts.sizes else len(facts.now)
    content = bytearray(_padded(facts.base, max(size, len(facts.now))))
    ages: dict[int, float] = {}
    shorn = 0
    for sector, turns in facts.versions().items():
        unit_of = sector * SECTOR // unit
        if unit_of not in ages:
            ages[unit_of] = _age(rng, bias)
        if garbage and rng.random() < garbage:
            _put(content, sector, _garbage(rng, content))
            shorn += 1
        else:
            _put(content, sector, turns[min(int(ages[unit_of] * len(turns)), len(turns) - 1)])
    return bytes(content[:size]), shorn


def _put(content: bytearray, sector: int, data: bytes) -> None:
    """Replace a sector, as far as the file goes."""
    start = sector * SECTOR
    stop = min(start + len(data), len(content))
    if stop > start:
        content[start:stop] = data[: stop - start]


def _age(rng: Random, bias: float) -> float:
    """Which version, from 0 (what is sure) to 1 (the last)."""
    return 0.0 if rng.random() < bias / 2 else 1.0 if rng.random() < 0.5 else rng.random()


def _garbage(rng: Random, content: bytearray) -> bytes:
    """Noise, a sector that was never written, or one that belongs elsewhere in the file."""
    kind = rng.randrange(4)
    if kind == 0:
        return bytes(SECTOR)
    if kind == 1 and len(content) >= 2 * SECTOR:
        start = rng.randrange(len(content) // SECTOR) * SECTOR
        return bytes(content[start : start + SECTOR]).ljust(SECTOR, b"\0")
    return rng.randbytes(SECTOR)


def _rename(names: dict[str, int], change: Names) -> None:
    for name, file in change.changes:
        if file is None:
            names.pop(name, None)
        else:
            names[name] = file


def _padded(data: bytes, size: int) -> bytes:
    return data if len(data) >= size else data + bytes(size - len(data))
