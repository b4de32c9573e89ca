"""The index: its bytes, what is believed of it on opening, and the order in which it changes its mind."""

import contextlib
import errno
import os
import struct
from pathlib import Path

import pytest
import xxhash
from disk_helpers import (
    Died,
    MemoryFile,
    MortalOps,
    NoBoot,
    OtherBoot,
    PlainFs,
    folder,
    leave,
    names,
    new_cache,
    noise,
    present,
    put,
    reopen,
)
from hypothesis import given
from hypothesis import strategies as st

from largefile.core.bitmap import Bitmap
from largefile.core.entries import seal_of
from largefile.disk.fileops import FileOps
from largefile.disk.files import LocalFile
from largefile.disk.header import SLOT_SIZE, Header, Layout, State, choose, decode, encode
from largefile.disk.index import Index, read_header
from largefile.errors import (
    CacheBusyError,
    CacheIOError,
    IndexCorruptError,
    IndexVersionError,
    PartialFileError,
)

BLOCK = 4096  # whole pages: others are never believed unread after another boot
SIZE = 15 * BLOCK + 2600  # 16 blocks, the last one short
CONTENT = noise(SIZE)

texts = st.none() | st.text(max_size=60)
headers = st.builds(
    Header,
    content_size=st.integers(0, 2**63 - 1),
    block_size=st.integers(17, 2**63 - 1),  # an index of more blocks has no size that a file can have
    file_id=st.binary(min_size=16, max_size=16),
    generation=st.integers(0, 2**64 - 1),
    state=st.sampled_from(State),
    etag=texts,
    last_modified=texts,
    digest=texts,
    url=texts,
    inode=st.integers(0, 2**64 - 1),
    birth=st.integers(0, 2**64 - 1),
    mtime=st.integers(-(2**63), 2**63 - 1),
    mount=st.integers(0, 2**64 - 1),
    clean=st.booleans(),
    boot=st.just("") | st.uuids().map(str),
    pid=st.integers(0, 2**32),
    started=st.integers(0, 2**64 - 1),
    host=texts,
).filter(lambda header: header.boot != "00000000-0000-0000-0000-000000000000")


# --- the header ---------------------------------------------------------------------------------


@given(headers)
def test_a_header_comes_back_as_it_was(header):
    slot = encode(header)
    assert len(slot) == SLOT_SIZE
    assert decode(slot, "x") == header


@given(headers, st.integers(0, SLOT_SIZE * 8 - 1))
def test_no_flipped_bit_is_read_as_a_header(header, bit):
    slot = bytearray(encode(header))
    slot[bit // 8] ^= 1 << bit % 8
    with pytest.raises(IndexCorruptError):
        decode(bytes(slot), "x")


@given(st.binary(max_size=64) | st.binary(min_size=SLOT_SIZE, max_size=SLOT_SIZE))
def test_garbage_is_no_header(garbage):
    with pytest.raises(IndexCorruptError):
        decode(garbage, "x")


@given(headers, st.binary(min_size=200, max_size=400))
def test_garbage_with_a_right_checksum_is_a_typed_error_or_a_header(header, garbage):
    slot = bytearray(encode(header))
    slot[12 : 12 + len(garbage)] = garbage
    slot[-8:] = struct.pack("<Q", xxhash.xxh3_64_intdigest(bytes(slot[:-8])))
    with contextlib.suppress(IndexCorruptError):
        assert isinstance(decode(bytes(slot), "x"), Header)


@given(headers, headers, st.sampled_from(["first", "second", "both", "none"]))
def test_the_whole_slot_of_the_higher_generation_counts(one, two, torn):
    slots = [encode(one), encode(two)]
    for number, name in enumerate(("first", "second")):
        if torn in (name, "both"):
            slots[number] = slots[number][:100] + bytes(100) + slots[number][200:-1] + b"\xee"
    if torn == "both":
        with pytest.raises(IndexCorruptError):
            choose(*slots, "x")
        return
    if torn == "none":
        later = two.generation > one.generation
        if one.file_id == two.file_id and {one.generation, two.generation} == {0, 2**64 - 1}:
            later = not later
        expected = (two, 1) if later else (one, 0)
    else:
        expected = (two, 1) if torn == "first" else (one, 0)
    assert choose(*slots, "x")[:2] == expected


def test_strings_that_are_too_long_stand_as_their_digest():
    header = Header(
        10, 4, bytes(16), etag="e" * 1025, url="u" * 5000, last_modified="é" * 200, host="h" * 256
    )
    again = decode(encode(header), "x")
    assert again.etag.startswith("sha256:")
    assert again.url.startswith("sha256:")
    assert again.last_modified.startswith("sha256:")
    assert again.host == "h" * 256
    assert decode(encode(again), "x") == again


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"content_size": 2**63 - 1, "block_size": 1}, "blocks of 1"),
        ({"content_size": 2**60, "block_size": 1}, "blocks of 1"),
        ({"content_size": 2**63}, "9223372036854775808 bytes"),
        ({"block_size": 0}, "blocks of 0"),
    ],
)
def test_a_header_that_nobody_can_go_on_from_is_corrupt(tmp_path, changes, words):
    """Its checksum is right, so it was made so. It is a typed error all the same, and nothing is done."""
    new_cache(tmp_path, SIZE, BLOCK).close()
    path = tmp_path / "x.part.idx"
    raw = bytearray(path.read_bytes())
    slot = encode(Header(**{"content_size": SIZE, "block_size": BLOCK, "file_id": bytes(16)} | changes))
    path.write_bytes(slot * 2 + raw[2 * SLOT_SIZE :])
    with pytest.raises(IndexCorruptError, match=words):
        reopen(tmp_path)
    assert path.read_bytes() == slot * 2 + raw[2 * SLOT_SIZE :]


def test_a_string_longer_than_we_write_is_corrupt():
    slot = bytearray(encode(Header(10, 4, bytes(16), host="h" * 256)))
    at = slot.index(b"h" * 256) - 2
    slot[at : at + 2] = (257).to_bytes(2, "little")
    slot[-8:] = struct.pack("<Q", xxhash.xxh3_64_intdigest(bytes(slot[:-8])))
    with pytest.raises(IndexCorruptError, match="257 bytes of host"):
        decode(bytes(slot), "x")


def test_every_string_at_its_longest_fits():
    longest = {"etag": 1024, "last_modified": 256, "digest": 256, "url": 1024, "host": 256}
    header = Header(10, 4, bytes(16), **{name: "x" * size for name, size in longest.items()})
    assert decode(encode(header), "x") == header


def test_a_newer_version_is_said_to_be_one_whatever_the_other_slot_says():
    slot = bytearray(encode(Header(10, 4, bytes(16))))
    slot[8:10] = (2).to_bytes(2, "little")
    slot[-8:] = struct.pack("<Q", xxhash.xxh3_64_intdigest(bytes(slot[:-8])))
    with pytest.raises(IndexVersionError, match=r"2\.1"):
        choose(bytes(slot), encode(Header(10, 4, bytes(16), generation=9)), "x")


# --- the file -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("blocks", "layout"),
    [
        (0, (8192, 8192, 8192)),
        (1, (8192, 12288, 16384)),
        (512, (8192, 12288, 16384)),
        (513, (8192, 16384, 24576)),
        (1 << 20, (8192, 8192 + (8 << 20), 8192 + (16 << 20))),
    ],
)
def test_tables_begin_on_pages(blocks, layout):
    assert Layout.of(blocks) == layout


def test_the_bytes_of_an_index_are_these(tmp_path):
    with new_cache(tmp_path, SIZE, BLOCK) as cache:
        put(cache, CONTENT, 3)
    raw = (tmp_path / "x.part.idx").read_bytes()
    header, slot, certain = choose(raw[:4096], raw[4096:8192], "x")
    assert certain
    assert len(raw) == Layout.of(16).size
    assert raw[slot * 4096 :][:12] == b"lrgfile\n\x01\x00\x01\x00"
    assert header.inode == (tmp_path / "x.part").stat().st_ino
    assert header.clean
    assert header.mtime == (tmp_path / "x.part").stat().st_mtime_ns
    other_id = bytes(byte ^ 0xFF for byte in header.file_id)
    for at, bound_to in ((8192, header.file_id), (12288, other_id)):
        entry = seal_of(bound_to, 3, xxhash.xxh3_64_intdigest(CONTENT[3 * BLOCK : 4 * BLOCK])).to_bytes(
            8, "little"
        )
        assert raw[at : at + 128] == bytes(24) + entry + bytes(96)
    assert not any(raw[8192 + 128 : 12288])


def test_an_index_that_is_written_through_has_the_bytes_of_a_mapped_one():
    header = Header(SIZE, BLOCK, b"0123456789abcdef")
    mapped_or_not = []
    with folder() as base:
        for path, file in (("a", None), ("b", MemoryFile())):
            file = file or LocalFile.create(str(base / path))
            Index.create(file, header)
            index = Index.open(file, writable=True)
            for block in (0, 5, 6, 15):
                index.seal(block, block * 1_000_003)
            index.make_durable(0, 6)
            index.forget(5)
            index.seal(0, 1)
            index.restore(0)
            index.seal(6, 1)
            index.seal(7, 7)
            index.keep_only(bits(0, 6, 15), durable=bits(0, 6))
            index.keep_only(bits(0, 6))
            index.write_header(state=State.POISONED)
            index.release()
            mapped_or_not.append(file.read_at(100_000, 0))
            file.close()
    assert mapped_or_not[0] == mapped_or_not[1]
    live, durable = (struct.unpack_from("<16Q", mapped_or_not[0], at) for at in (8192, 12288))
    assert [block for block in range(16) if live[block]] == [0, 6]
    assert [block for block in range(16) if durable[block]] == [0]
    assert live[0] == seal_of(header.file_id, 0, 0)


def bits(*blocks):
    found = Bitmap(16)
    for block in blocks:
        found.set(block)
    return found


class NoRoom(MemoryFile):
    """A file whose room can not be reserved."""

    def allocate(self, offset: int, size: int) -> bool:
        return False


@pytest.mark.parametrize("blocks", [0, 1, 16, 300_000])
def test_where_no_room_can_be_reserved_an_index_is_written_whole(blocks):
    header = Header(64 * blocks, 64, b"0123456789abcdef")
    reserved, written = MemoryFile(), NoRoom()
    for file in (reserved, written):
        Index.create(file, header)
    assert written.bytes == reserved.bytes
    assert len(written.bytes) == Layout.of(blocks).size


def test_an_injected_index_can_be_read_by_who_does_not_write_it():
    file = MemoryFile()
    Index.create(file, Header(SIZE, BLOCK, b"0123456789abcdef"))
    writer = Index.open(file, writable=True)
    writer.seal(3, 7)
    reader = Index.open(file, writable=False)
    assert [block for block in range(16) if reader.live.is_sealed(block)] == [3]
    for index in (writer, reader):
        index.drop_pages()  # it has none of the file's
        index.release()


class NoMap(FileOps):
    """A filesystem without maps."""

    def mmap(self, fd, offset, size, path="", *, writable):
        raise CacheIOError(errno.ENODEV, "map", path)


def test_a_follower_needs_no_map_to_see_what_is_there(tmp_path):
    with new_cache(tmp_path, SIZE, BLOCK, ops=PlainFs()) as cache:
        put(cache, CONTENT, 2)
        with reopen(tmp_path, read_only=True, ops=NoMap()) as follower:
            assert present(follower) == {2}
            assert follower.read_at(5, 2 * BLOCK) == CONTENT[2 * BLOCK :][:5]


def test_an_index_that_became_anothers_is_not_followed(tmp_path):
    new_cache(tmp_path, SIZE, BLOCK).close()
    other = tmp_path / "other"
    other.mkdir()
    new_cache(other, SIZE, BLOCK).close()
    with reopen(tmp_path, read_only=True) as follower:
        (tmp_path / "x.part.idx").write_bytes((other / "x.part.idx").read_bytes())
        with pytest.raises(IndexCorruptError, match="another download"):
            follower.refresh()


@given(st.integers(0, 2 * SLOT_SIZE * 8 - 1), st.booleans())
def test_a_flipped_bit_of_the_headers_costs_one_generation_or_is_a_typed_error(bit, both_written):
    with folder() as base:
        if both_written:
            new_cache(base, SIZE, BLOCK).close()
        else:
            leave(new_cache(base, SIZE, BLOCK))
        path = base / "x.part.idx"
        raw = bytearray(path.read_bytes())
        raw[bit // 8] ^= 1 << bit % 8
        path.write_bytes(raw)
        try:
            with reopen(base) as cache:
                assert cache.content_length_and_block_size() == (SIZE, BLOCK)
        except IndexCorruptError:
            assert path.read_bytes() == raw


@given(st.integers(0, 20_000), st.binary(max_size=9000))
def test_a_file_that_is_no_index_is_a_typed_error_and_left_alone(size, start):
    with folder() as base:
        data, index = base / "x.part", base / "x.part.idx"
        data.write_bytes(CONTENT)
        text = (start + bytes(size))[: max(size, len(start))]
        index.write_bytes(text)
        with pytest.raises(IndexCorruptError):
            reopen(base)
        assert index.read_bytes() == text
        assert data.read_bytes() == CONTENT


@pytest.mark.parametrize("change", [-4096, -1, 1, 4096])
def test_an_index_of_another_size_is_not_opened(tmp_path, change):
    new_cache(tmp_path, SIZE, BLOCK).close()
    path = tmp_path / "x.part.idx"
    os.truncate(path, path.stat().st_size + change)
    with pytest.raises(IndexCorruptError, match="size"):
        reopen(tmp_path)


def test_data_of_another_size_is_left_alone(tmp_path):
    new_cache(tmp_path, SIZE, BLOCK).close()
    before = (tmp_path / "x.part.idx").read_bytes()
    os.truncate(tmp_path / "x.part", 999)
    for read_only in (False, True):
        with pytest.raises(PartialFileError, match="999"):
            reopen(tmp_path, read_only=read_only)
    assert (tmp_path / "x.part.idx").read_bytes() == before


# --- what is believed ---------------------------------------------------------------------------


def damage(base, block):
    """Other bytes in a block, behind everybody's back, with the file's times as they were."""
    path = base / "x.part"
    times = path.stat()
    with path.open("r+b") as file:
        file.seek(block * BLOCK)
        file.write(b"\xee" * 8)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def committed_then_killed(base):
    """Blocks 1 to 3 are durable, 5 and 6 are live only; damage in 2 and in 6."""
    cache = new_cache(base, SIZE, BLOCK)
    put(cache, CONTENT, 1, 2, 3)
    cache.commit()
    put(cache, CONTENT, 5, 6)
    leave(cache)
    damage(base, 2)
    damage(base, 6)


def test_in_the_same_boot_live_entries_count_unread(tmp_path):
    committed_then_killed(tmp_path)
    with reopen(tmp_path) as cache:
        assert present(cache) == {1, 2, 3, 5, 6}
        assert cache.hashed_blocks == 0


@pytest.mark.parametrize("ops", [OtherBoot(), NoBoot()])
def test_after_another_boot_only_what_is_durable_counts_unread(tmp_path, ops):
    committed_then_killed(tmp_path)
    with reopen(tmp_path, ops=ops) as cache:
        assert present(cache) == {1, 2, 3, 5}
        assert cache.hashed_blocks == 2


def test_a_system_without_boot_ids_never_trusts_live_entries_unread(tmp_path):
    cache = new_cache(tmp_path, SIZE, BLOCK, ops=NoBoot())
    put(cache, CONTENT, 4)
    leave(cache)
    damage(tmp_path, 4)
    with reopen(tmp_path, ops=NoBoot()) as cache:
        assert present(cache) == set()


def test_a_durable_twin_mends_a_damaged_live_entry_after_hashing(tmp_path):
    cache = new_cache(tmp_path, SIZE, BLOCK)
    put(cache, CONTENT, 1, 2)
    cache.commit()
    cache._index.live.clear(1)
    cache._index.seal(2, 12345)
    leave(cache)
    with reopen(tmp_path, ops=OtherBoot()) as cache:
        assert present(cache) == {1, 2}
        assert cache.verify() == []
    with reopen(tmp_path, ops=OtherBoot()) as cache:
        assert cache.hashed_blocks == 0


def test_blocks_that_share_pages_are_all_hashed_after_another_boot(tmp_path):
    with new_cache(tmp_path, 1000, 100) as cache:
        put(cache, CONTENT[:1000], 1, 2)
        cache.commit()
    with reopen(tmp_path) as cache:
        assert cache.hashed_blocks == 0
        put(cache, CONTENT[:1000], 3)
        leave(cache)
    with (tmp_path / "x.part").open("r+b") as file:
        file.seek(250)
        file.write(b"shorn")  # while its neighbour was being written
    with reopen(tmp_path, read_only=True, ops=OtherBoot()) as follower:
        assert present(follower) == set()  # its writer will decide
    with reopen(tmp_path, ops=OtherBoot()) as cache:
        assert present(cache) == {1, 3}
        assert cache.hashed_blocks == 3


@pytest.mark.parametrize("how", ["copied", "edited"])
def test_a_changed_data_file_is_hashed_whole_and_nothing_is_thrown_away(tmp_path, how):
    with new_cache(tmp_path, SIZE, BLOCK) as cache:
        put(cache, CONTENT, 1, 2, 3)
    path = tmp_path / "x.part"
    if how == "copied":
        (tmp_path / "copy").write_bytes(path.read_bytes())
        (tmp_path / "copy").rename(path)
    else:
        os.utime(path, ns=(1, 1))
    damage(tmp_path, 2)
    cache = reopen(tmp_path)
    assert present(cache) == {1, 3}
    assert cache.hashed_blocks == 3
    # These bytes may never have been synced: no durable entry stands until they are.
    assert [cache._index.durable[block] for block in range(16)] == [0] * 16
    assert cache.commit() == 2
    assert [block for block in range(16) if cache._index.durable.is_sealed(block)] == [1, 3]
    cache.close()
    with reopen(tmp_path) as cache:
        assert present(cache) == {1, 3}
        assert cache.hashed_blocks == 0


def test_an_edit_after_a_clean_close_is_noticed_by_its_time(tmp_path):
    with new_cache(tmp_path, SIZE, BLOCK) as cache:
        put(cache, CONTENT, *range(16))
    with (tmp_path / "x.part").open("r+b") as file:
        file.write(b"\xee")
    os.utime(tmp_path / "x.part", ns=(10**18, 10**18))
    with reopen(tmp_path) as cache:
        assert present(cache) == set(range(1, 16))


def test_the_data_of_another_download_is_not_believed(tmp_path):
    with new_cache(tmp_path, SIZE, BLOCK) as cache:
        put(cache, CONTENT, *range(16))
    other = tmp_path / "other"
    other.mkdir()
    with new_cache(other, SIZE, BLOCK) as cache:
        put(cache, noise(SIZE, seed=1), *range(16))
    (other / "x.part").rename(tmp_path / "x.part")
    with reopen(tmp_path) as cache:
        assert present(cache) == set()


@pytest.mark.parametrize(("ops", "found"), [(FileOps(), {1, 2}), (OtherBoot(), {1, 2, 5})])
def test_of_a_poisoned_index_only_what_is_synced_counts_before_another_boot(tmp_path, ops, found):
    """In the same one the page cache still has what the disk has lost, and is never written again."""
    cache = new_cache(tmp_path, SIZE, BLOCK)
    put(cache, CONTENT, 1, 2)
    cache.commit()
    first = 5 * BLOCK
    cache.data.write_at(CONTENT[first : first + BLOCK], first)
    cache.poison("test")
    # A connection was between its check and its entry.
    cache._index.seal(5, xxhash.xxh3_64_intdigest(CONTENT[first : first + BLOCK]))
    cache.close()
    assert read_state(tmp_path) is State.POISONED
    with reopen(tmp_path, ops=ops) as cache:
        assert present(cache) == found
        assert cache.hashed_blocks == len(found) - 2
    assert read_state(tmp_path) is State.FILLING


def test_nothing_of_a_superseded_index_counts(tmp_path):
    cache = new_cache(tmp_path, SIZE, BLOCK)
    put(cache, CONTENT, 1, 2)
    cache.mark(State.SUPERSEDED)
    leave(cache)
    with reopen(tmp_path) as cache:
        assert present(cache) == set()


def read_state(base):
    file = LocalFile.open(names(base)[1])
    try:
        return read_header(file).header.state
    finally:
        file.close()


def test_a_death_at_any_step_of_the_recovery_repeats_it(tmp_path):
    """The old boot id stands until all that is not believed is zero, so no half-made recovery counts."""
    steps = 0
    while True:
        with folder() as base:
            committed_then_killed(base)
            mortal = MortalOps(steps)
            mortal.boot_id = OtherBoot().boot_id
            try:
                cache = reopen(base, ops=mortal)
            except Died:
                with reopen(base, ops=OtherBoot()) as cache:
                    assert present(cache) == {1, 2, 3, 5}
            else:
                mortal.left = 10**9
                assert present(cache) == {1, 2, 3, 5}
                cache.close()
                break
        steps += 1
    assert steps > 10


def test_the_new_boot_id_is_not_written_before_the_unbelieved_entries_are_gone(tmp_path):
    committed_then_killed(tmp_path)
    log = []

    class Log(OtherBoot):
        def pwrite(self, fd, data, offset, path=""):
            log.append(("write", offset, Path(path).read_bytes()[8192 + 8 * 6 :][:8]))
            super().pwrite(fd, data, offset, path)

        def fdatasync(self, fd, path=""):
            log.append(("sync", Path(path).name, None))
            super().fdatasync(fd, path)

    cache = reopen(tmp_path, ops=Log())
    leave(cache)
    assert [entry[0] for entry in log] == ["sync", "write", "sync"]
    assert log[0][1] == log[2][1] == "x.part.idx"
    assert log[1][1] in (0, 4096)
    assert log[1][2] == bytes(8)


# --- company ------------------------------------------------------------------------------------


def test_a_second_writer_is_told_who_the_first_is(tmp_path):
    cache = new_cache(tmp_path, SIZE, BLOCK)
    with pytest.raises(CacheBusyError, match=f"pid {os.getpid()}"):
        reopen(tmp_path)
    cache.close()
    reopen(tmp_path).close()


class NoOfd(PlainFs):
    def lock_ofd(self, fd, path=""):
        raise CacheIOError(38, "lock", path)

    locked_ofd = lock_ofd


class NoFlock(NoOfd):
    def flock(self, fd, operation, path=""):
        raise CacheIOError(38, "lock", path)


@pytest.mark.parametrize(("ops", "kind"), [(PlainFs(), "ofd"), (NoOfd(), "flock"), (NoFlock(), "owner-file")])
def test_each_kind_of_lock_keeps_a_second_writer_out(tmp_path, ops, kind):
    cache = new_cache(tmp_path, SIZE, BLOCK, ops=ops)
    assert cache.lock_kind == kind
    with pytest.raises(CacheBusyError):
        reopen(tmp_path, ops=ops)
    cache.close()
    reopen(tmp_path, ops=ops).close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.part", "x.part.idx"]


@pytest.mark.parametrize("text", ["", "garbage", "4194303 1 {host}", "{pid} 1 {host}"])
def test_an_owner_file_of_a_process_that_is_gone_is_taken_over(tmp_path, text):
    new_cache(tmp_path, SIZE, BLOCK, ops=NoFlock()).close()
    owner = tmp_path / "x.part.idx.owner"
    owner.write_text(text.format(pid=os.getpid(), host=NoFlock().host()))
    if text in ("", "garbage"):  # not known to be stale
        with pytest.raises(CacheBusyError):
            reopen(tmp_path, ops=NoFlock())
        assert owner.exists()
    else:
        reopen(tmp_path, ops=NoFlock()).close()
        assert not owner.exists()


@pytest.mark.parametrize("number", [errno.EFAULT, errno.EIO])
def test_a_page_that_can_not_be_stored_to_is_an_error_and_no_signal(tmp_path, monkeypatch, number):
    cache = new_cache(tmp_path, SIZE, BLOCK)
    with monkeypatch.context() as broken:
        broken.setattr("largefile.disk.index.prefault", lambda *place: number)
        with pytest.raises(CacheIOError) as caught:
            put(cache, CONTENT, 3)
    assert caught.value.errno == errno.EIO
    assert present(cache) == set()
    leave(cache)
    with reopen(tmp_path) as cache:
        assert present(cache) == set()


def test_a_system_that_can_not_try_a_page_stores_without(tmp_path, monkeypatch):
    monkeypatch.setattr("largefile.disk.index.prefault", lambda *place: errno.EINVAL)
    with new_cache(tmp_path, SIZE, BLOCK) as cache:
        put(cache, CONTENT, 3)
    with reopen(tmp_path) as cache:
        assert present(cache) == {3}
