"""A digest that the server names is compared, whatever face asks, and is never taken for the caller's."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys

import pytest
from click.testing import CliRunner
from server_tools import BLOCK, after, always, get, names, noise, on, parts, sha256
from stream_tools import open_stream

import largefile
from largefile.cli.app import program as main
from largefile.errors import DigestMismatchError, SourceChangedError
from largefile.testing.script import DATE, Behaviour, Content
from largefile.testing.server import LoopbackServer

SIZE = 40 * BLOCK + 12_345
CONTENT = noise(SIZE)
SHA = sha256(CONTENT)


def b64(data, algorithm="sha256"):
    return base64.b64encode(hashlib.new(algorithm, data).digest()).decode()


def repr_digest(data):
    return {"Repr-Digest": f"sha-256=:{b64(data)}:"}


LENGTHS = [{}, {"chunked": True}, {"no_length": True}]
RIGHT, WRONG = repr_digest(CONTENT), repr_digest(b"else")


def flipped(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def says(headers, wrong_at=None, times=1):
    """Always these fields; the byte `wrong_at` is wrong in its first few deliveries."""
    count = 0

    def behave(request):
        nonlocal count
        first, last = request.range or (0, SIZE - 1)
        if wrong_at is None or not first <= wrong_at <= last or count >= times:
            return Behaviour(headers=headers)
        count += 1
        return Behaviour(
            headers=headers,
            content=Content(SIZE, lambda a, b: flipped(CONTENT, wrong_at)[a : b + 1], '"v1"'),
        )

    return behave


@pytest.fixture
def dest(tmp_path):
    return tmp_path / "file.bin"


@pytest.mark.parametrize(
    ("headers", "digest"),
    [
        (RIGHT, SHA),
        ({"Digest": f"SHA-256={b64(CONTENT)}"}, SHA),
        (
            {"x-goog-hash": f"crc32c=n03x6A==, md5={b64(CONTENT, 'md5')}"},
            f"md5:{hashlib.md5(CONTENT).hexdigest()}",
        ),
        ({"x-amz-checksum-sha256": b64(CONTENT), "x-amz-checksum-type": "FULL_OBJECT"}, SHA),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_digest_that_agrees_vouches_for_the_bytes(dest, headers, digest):
    with LoopbackServer(CONTENT, behave=always(headers=headers)) as server:
        status = get(server, dest)
        assert server.sent == SIZE
    assert dest.read_bytes() == CONTENT
    assert (status.verified_by, status.digest) == ("server-digest", digest)


@pytest.mark.parametrize(
    "headers", [{"Content-Digest": RIGHT["Repr-Digest"]}, {"Content-MD5": b64(CONTENT, "md5")}]
)
@pytest.mark.parametrize("length", LENGTHS, ids=["sized", "chunked", "until it ends"])
def test_of_a_whole_body_its_own_digest_counts(dest, headers, length):
    with LoopbackServer(CONTENT, behave=always(headers=headers, ranges=False, **length)) as server:
        assert get(server, dest).verified_by == "server-digest"
    assert dest.read_bytes() == CONTENT


@pytest.mark.parametrize("length", LENGTHS, ids=["sized", "chunked", "until it ends"])
def test_a_whole_body_that_its_digest_denies_is_kept_aside(dest, length):
    behave = always(headers={"Content-Digest": WRONG["Repr-Digest"]}, ranges=False, **length)
    with LoopbackServer(CONTENT, behave=behave) as server, pytest.raises(DigestMismatchError) as caught:
        get(server, dest)
    assert "by the server's Content-Digest" in str(caught.value)
    assert names(dest.parent) == {"file.bin.bad"}


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Digest": WRONG["Repr-Digest"]},
        {"Content-MD5": b64(b"else", "md5")},
        {"x-amz-checksum-sha256": b64(b"else") + "-5", "x-amz-checksum-type": "COMPOSITE"},
        {"x-amz-checksum-sha256": b64(b"else")},
    ],
    ids=["content-digest", "content-md5", "composite", "of no known type"],
)
def test_what_is_not_of_the_whole_is_ignored(dest, headers):
    with LoopbackServer(CONTENT, behave=always(headers=headers)) as server:
        assert get(server, dest).verified_by == "strong-etag"
        assert server.sent == SIZE
    assert dest.read_bytes() == CONTENT


def test_the_content_digest_of_each_part_is_no_version(dest):
    def behave(request):
        first, last = request.range or (0, SIZE - 1)
        return Behaviour(headers={"Content-Digest": f"sha-256=:{b64(CONTENT[first : last + 1])}:"})

    with LoopbackServer(CONTENT, behave=behave) as server:
        status = get(server, dest)
    assert dest.read_bytes() == CONTENT
    assert (status.verified_by, status.download_retries, status.notes) == ("strong-etag", 0, ())


def test_a_bit_that_was_wrong_once_is_put_right(dest):
    with LoopbackServer(CONTENT, behave=says(RIGHT, wrong_at=17 * BLOCK + 7)) as server:
        status = get(server, dest)
    assert dest.read_bytes() == CONTENT
    assert names(dest.parent) == {"file.bin"}
    assert status.verified_by == "server-digest"
    assert any("again: 17" in note for note in status.notes)


def test_without_repair_it_is_an_error_at_once(dest):
    with LoopbackServer(CONTENT, behave=says(RIGHT, wrong_at=7)) as server:
        with pytest.raises(DigestMismatchError):
            get(server, dest, repair=False)
        assert server.sent == SIZE


def test_what_always_disagrees_is_kept_aside_and_an_error_that_names_the_field(dest):
    with LoopbackServer(CONTENT, behave=always(headers=WRONG)) as server:
        with pytest.raises(DigestMismatchError) as caught:
            get(server, dest)
        assert server.sent <= 2 * SIZE
    error = caught.value
    assert (error.found, error.wanted, error.field) == (SHA, sha256(b"else"), "Repr-Digest")
    assert str(error).endswith("by the server's Repr-Digest")
    assert names(dest.parent) == {"file.bin.bad"}
    assert (dest.parent / "file.bin.bad").read_bytes() == CONTENT


def test_the_callers_digest_decides_alone(dest):
    with LoopbackServer(CONTENT, behave=always(headers=WRONG)) as server:
        status = get(server, dest, digest=SHA)
        assert server.sent == SIZE
    assert (status.verified_by, status.digest) == ("digest", SHA)


def test_a_wrong_digest_of_the_callers_is_not_blamed_on_the_server(dest):
    with LoopbackServer(CONTENT, behave=always(headers=RIGHT)) as server:
        with pytest.raises(DigestMismatchError) as caught:
            get(server, dest, digest=sha256(b"else"), repair=False)
    assert caught.value.field is None
    assert "server" not in str(caught.value)


def test_it_is_not_heard_where_the_caller_says_so(dest):
    with LoopbackServer(CONTENT, behave=always(headers=WRONG)) as server:
        status = get(server, dest, server_digest=False)
    assert dest.read_bytes() == CONTENT
    assert (status.verified_by, status.digest) == ("strong-etag", None)


def test_another_digest_midway_is_another_version(dest):
    with LoopbackServer(CONTENT, behave=after(3, headers=WRONG)) as server:
        server.behave, later = lambda r: later(r) or Behaviour(headers=RIGHT), server.behave
        with pytest.raises(SourceChangedError) as caught:
            get(server, dest, on_change="fail")
    assert "Repr-Digest" in str(caught.value)
    assert not dest.exists()


def test_a_cache_that_gave_another_digest_is_asked_past(dest):
    def behave(request):
        is_stale = request.number == 2 and "cache-control" not in request.headers
        return Behaviour(headers=WRONG if is_stale else RIGHT)

    with LoopbackServer(CONTENT, behave=behave) as server:
        status = get(server, dest, on_change="fail")
    assert dest.read_bytes() == CONTENT
    assert status.verified_by == "server-digest"


def test_after_a_restart_the_digest_of_the_new_version_counts(dest):
    new = noise(SIZE, seed=2)
    changed = Content(SIZE, lambda a, b: new[a : b + 1], '"v2"')

    def behave(request):
        if request.number < 3:
            return Behaviour(headers=RIGHT)
        return Behaviour(headers=repr_digest(new), content=changed)

    with LoopbackServer(CONTENT, behave=behave) as server:
        status = get(server, dest)
    assert dest.read_bytes() == new
    assert (status.verified_by, status.digest) == ("server-digest", sha256(new))


@pytest.mark.parametrize("before", [RIGHT, WRONG, {}], ids=["the same", "another", "none"])
def test_a_resumed_download_compares_with_what_is_said_now(dest, before):
    """What was said to the process before is not stored: it would be taken for the caller's."""
    with LoopbackServer(CONTENT, behave=on(0, headers=before)) as server:
        first, server.behave = server.behave, lambda r: first(r) or Behaviour(status=404)
        with pytest.raises(largefile.NotFoundError):
            get(server, dest, tries=1, concurrency=1)
        assert 0 < server.sent < SIZE
        server.behave = always(headers=RIGHT)
        status = get(server, dest)
    assert dest.read_bytes() == CONTENT
    assert status.resumed_bytes > 0
    assert (status.verified_by, status.digest) == ("server-digest", SHA)


def test_a_finished_partial_is_compared_before_it_is_published(dest):
    part, index = parts(dest)
    with LoopbackServer(CONTENT) as server:
        largefile.create_cache_files(part, index, SIZE, BLOCK)
        with (
            largefile.LocalDownloadCache.open(part, index, durable=False) as cache,
            largefile.HTTPReader(server.url, proxy="") as reader,
        ):
            largefile.CachingDownloader(reader, cache).run()
        server.behave = always(headers=WRONG)
        with pytest.raises(DigestMismatchError):
            get(server, dest, repair=False)
    assert not dest.exists()


# --- the other faces ------------------------------------------------------------------------------


def test_a_buffer_is_compared():
    target = bytearray(SIZE)
    with LoopbackServer(CONTENT, behave=always(headers=RIGHT)) as server:
        status = get(server, None, into=target)
        server.behave = always(headers=WRONG)
        with pytest.raises(DigestMismatchError, match="by the server's Repr-Digest"):
            get(server, None, into=target)
        assert get(server, None, into=target, server_digest=False).verified_by == "strong-etag"
        assert get(server, None, into=target, digest=SHA).verified_by == "digest"
    assert (status.verified_by, status.digest) == ("server-digest", SHA)


@pytest.mark.parametrize("length", LENGTHS, ids=["sized", "chunked", "until it ends"])
def test_a_stream_is_compared_before_its_end_is_told(length):
    size = {**length, "ranges": not length}
    with LoopbackServer(CONTENT, behave=always(headers=RIGHT, **size)) as server:
        with open_stream(server) as source:
            assert source.read() == CONTENT
            status = source.status()
        server.behave = always(headers=WRONG, **size)
        with open_stream(server) as source:
            assert source.read(SIZE) == CONTENT
            with pytest.raises(DigestMismatchError, match="by the server's Repr-Digest"):
                source.read(1)
        if "no_length" not in size:  # nothing else tells its end from a lost connection
            with open_stream(server, server_digest=False) as source:
                assert source.read() == CONTENT
        with open_stream(server, digest=SHA) as source:
            assert source.read() == CONTENT
            assert source.status().verified_by == "digest"
    assert (status.verified_by, status.digest) == ("server-digest", SHA)


def test_a_stream_of_a_part_is_compared_with_nothing():
    with (
        LoopbackServer(CONTENT, behave=always(headers=WRONG)) as server,
        open_stream(server, offset=9) as source,
    ):
        assert source.read() == CONTENT[9:]
        assert source.status().verified_by == "strong-etag"


def test_the_servers_word_is_no_proof_for_blocks_that_a_cache_holds(tmp_path):
    """A digest of the caller's would be: he answers for it."""
    part, index = tmp_path / "data", tmp_path / "index"
    largefile.create_cache_files(part, index, SIZE, BLOCK)
    with largefile.LocalDownloadCache.open(part, index, durable=False) as cache:
        cache.write_at(bytes(BLOCK), 0)
        behave = always(headers={**RIGHT, "ETag": None, "Last-Modified": None})
        with LoopbackServer(CONTENT, behave=behave) as server, pytest.raises(SourceChangedError):
            open_stream(server, cache=cache, block_size="auto")


def test_a_seekable_file_can_be_told_not_to_hear_it():
    with LoopbackServer(CONTENT, behave=lambda r: Behaviour(headers=repr_digest(b"%d" % r.number))) as server:
        with largefile.open(server.url, proxy="", server_digest=False, block_size=BLOCK, readahead=0) as file:
            assert file.read_at(9, 0) == CONTENT[:9]
            assert file.read_at(9, 20 * BLOCK) == CONTENT[20 * BLOCK :][:9]
        with largefile.open(server.url, proxy="", block_size=BLOCK, readahead=0) as file:
            with pytest.raises(SourceChangedError):
                file.read_at(SIZE, 0)


@pytest.mark.parametrize("command", [["get"], ["get", "-o", "-"], ["cat"]], ids=" ".join)
def test_the_command_compares_unless_it_is_told_not_to(tmp_path, command):
    def run(*more):
        words = [
            sys.executable,
            "-m",
            "largefile",
            *command,
            server.at("/file.bin"),
            "--proxy",
            "",
            "-q",
            *more,
        ]
        return subprocess.run(words, cwd=tmp_path, capture_output=True, timeout=60)

    with LoopbackServer(CONTENT, behave=always(headers=WRONG)) as server:
        told = run()
        assert told.returncode == 10
        assert b"by the server's Repr-Digest" in told.stderr
        assert run("--no-server-digest").returncode == 0


def test_the_status_as_json_says_who_vouches(tmp_path):
    with LoopbackServer(CONTENT, behave=always(headers=RIGHT)) as server:
        arguments = ["get", server.url, "-o", str(tmp_path / "x"), "--proxy", "", "--json", "-q"]
        told = CliRunner().invoke(main, arguments)
    found = json.loads(told.stdout)
    assert (found["verified_by"], found["digest"]) == ("server-digest", SHA)
    assert found["identity"].keys() == {"etag", "last_modified", "size"}


@pytest.mark.parametrize(
    ("said", "date", "is_left"), [(RIGHT, None, False), (WRONG, DATE, True), ({}, None, True)]
)
def test_a_mirror_is_known_by_the_digest_that_it_names(dest, said, date, is_left):
    """Mirrors have ETags of their own, and many have no dates."""
    mine = {"etag": '"mine"', "last_modified": date}
    with (
        LoopbackServer(CONTENT, behave=always(headers=RIGHT, rate=4e6)) as server,
        LoopbackServer(CONTENT, **mine, behave=always(headers=said, rate=4e6)) as mirror,
    ):
        status = get(server, dest, mirrors=[mirror.url])
    assert dest.read_bytes() == CONTENT
    assert any("is left" in note for note in status.notes) == is_left
