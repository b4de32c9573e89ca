"""Whole downloads from a server that misbehaves: the right bytes, or a typed error and nothing lost."""

from __future__ import annotations

import hashlib
import logging
import stat
import threading
import time

import pytest
from server_tools import BLOCK, after, always, get, names, noise, on, parts, sha256

import largefile
from largefile.disk.create import create_cache_files
from largefile.errors import (
    DeadlineError,
    DigestMismatchError,
    LargeFileError,
    NetworkError,
    NotFoundError,
    ProtocolError,
    RefusedError,
    SourceChangedError,
    StalledError,
    ThrottledError,
    TransferError,
)
from largefile.testing.script import Behaviour, Content, pattern
from largefile.testing.server import LoopbackServer

SIZE = 40 * BLOCK + 12_345
CONTENT = noise(SIZE)
DATES = ("Mon, 05 Jan 2026 10:00:00 GMT", "Tue, 06 Jan 2026 10:00:00 GMT")
OTHER = noise(SIZE, seed=1)  # no byte run in common: a mixed file is neither


@pytest.fixture
def dest(tmp_path):
    return tmp_path / "file.bin"


@pytest.fixture
def server():
    with LoopbackServer(CONTENT) as made:
        yield made


def check_delivered(dest, content=CONTENT):
    assert dest.read_bytes() == content
    assert names(dest.parent) == {dest.name}


# --- a server that behaves -------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, BLOCK - 1, BLOCK, BLOCK + 1, SIZE])
def test_every_byte_is_asked_for_once_and_nothing_else_is(dest, size):
    with LoopbackServer(CONTENT[:size]) as server:
        status = get(server, dest)
    check_delivered(dest, CONTENT[:size])
    assert stat.S_IMODE(dest.stat().st_mode) & 0o600 == 0o600
    assert {request.method for request in server.requests} == {"GET"}
    assert sum(request.sent for request in server.requests) == size
    assert (status.complete, status.resumable, status.phase) == (True, False, "done")
    assert (status.downloaded_bytes, status.cached_or_streamed_bytes, status.download_size) == (size,) * 3
    assert status.downloaded_blocks == status.download_blocks == -(-size // BLOCK)
    assert (status.download_errors, status.download_retries, status.resumed_bytes) == (0, 0, 0)
    assert status.verified_by == "strong-etag"
    assert status.path == str(dest)


@pytest.mark.parametrize("behave", [None, always(ranges=False)], ids=["416", "200"])
def test_an_empty_object_is_an_empty_file(dest, behave):
    with LoopbackServer(b"", behave=behave) as server:
        status = get(server, dest, digest=sha256(b""))
    check_delivered(dest, b"")
    assert (status.complete, status.downloaded_bytes, status.download_size) == (True, 0, 0)


def test_a_digest_vouches_for_the_bytes_and_a_wrong_one_keeps_them_from_the_destination(server, dest):
    with pytest.raises(DigestMismatchError) as caught:
        get(server, dest, digest=sha256(OTHER))
    assert caught.value.found == sha256(CONTENT)
    assert names(dest.parent) == {"file.bin.bad"}
    status = get(server, dest, digest=sha256(CONTENT))
    assert (status.verified_by, status.digest) == ("digest", sha256(CONTENT))
    assert dest.read_bytes() == CONTENT


def test_connections_are_reused(server, dest):
    get(server, dest, concurrency=2)
    assert len(server.requests) > server.connections
    assert server.connections <= 3


# --- statuses --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "number"), [(429, 0), (503, 2)])
def test_retry_after_is_honoured_to_the_second(dest, number, status):
    script = on(number, status=status, headers={"Retry-After": "1"})
    with LoopbackServer(CONTENT, behave=script) as server:
        done = get(server, dest, concurrency=1)
    check_delivered(dest)
    refused, following = server.requests[number : number + 2]
    assert following.at - refused.at >= 1.0
    assert done.download_errors <= 1


def test_a_server_that_stays_busy_is_a_throttled_error(dest):
    with (
        LoopbackServer(CONTENT, behave=always(status=503, headers={"Retry-After": "0"})) as server,
        pytest.raises(ThrottledError) as caught,
    ):
        get(server, dest, tries=2)
    assert caught.value.resumable
    assert caught.value.status.complete is False
    assert len(server.requests) == 2
    assert names(dest.parent) == set()


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (404, NotFoundError),
        (410, NotFoundError),
        (401, RefusedError),
        (403, RefusedError),
        (400, ProtocolError),
    ],
)
def test_a_permanent_refusal_is_asked_once(dest, status, error):
    with (
        LoopbackServer(CONTENT, behave=always(status=status)) as server,
        pytest.raises(error, match=str(status)),
    ):
        get(server, dest)
    assert len(server.requests) == 1
    assert names(dest.parent) == set()


def test_a_content_length_of_thousands_of_digits_is_no_length(dest):
    """libcurl lets it pass; `int` raises ValueError for it, which would be no error of ours."""
    lie = always(status=404, headers={"Content-Length": "9" * 5000}, close=True)
    with LoopbackServer(CONTENT, behave=lie) as server, pytest.raises(NotFoundError):
        get(server, dest)
    lie = always(headers={"Content-Length": "9" * 5000}, close=True)
    with LoopbackServer(CONTENT, behave=lie) as server, pytest.raises(ProtocolError):
        get(server, dest, tries=2)


def test_a_refusal_in_the_middle_ends_the_download_and_keeps_what_came(dest):
    with LoopbackServer(CONTENT, behave=after(5, status=404)) as server:
        with pytest.raises(NotFoundError) as caught:
            get(server, dest)
        server.behave = None
        there = caught.value.status.cached_or_streamed_bytes
        status = get(server, dest)
    check_delivered(dest)
    assert 0 < there == status.resumed_bytes == SIZE - status.downloaded_bytes


@pytest.mark.parametrize("tries", [1, 2])
def test_tries_bounds_the_first_request(dest, tries):
    with LoopbackServer(CONTENT, behave=always(status=500)) as server, pytest.raises(ProtocolError):
        get(server, dest, tries=tries)
    assert len(server.requests) == tries


# --- bodies that end early -------------------------------------------------------------------------


@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
def test_every_third_body_cut_costs_less_than_a_block_each(dest, reset):
    def script(request):
        return Behaviour(cut_after=100_000, reset=reset) if request.number % 3 == 2 else None

    with LoopbackServer(CONTENT, behave=script) as server:
        status = get(server, dest, digest=sha256(CONTENT))
    check_delivered(dest)
    cut = [request for request in server.requests if request.number % 3 == 2 and request.sent == 100_000]
    assert cut
    assert status.download_errors == len(cut)
    if not reset:  # a reset may drop what was sent already
        assert status.downloaded_bytes == server.sent <= SIZE + len(cut) * BLOCK


@pytest.mark.parametrize("cut_after", [0, 1, BLOCK, BLOCK + 1])
def test_a_cut_first_body_is_gone_on_with(dest, cut_after):
    with LoopbackServer(CONTENT, behave=on(0, cut_after=cut_after)) as server:
        get(server, dest)
    check_delivered(dest)
    assert server.sent == SIZE + cut_after % BLOCK


@pytest.mark.parametrize(
    ("number", "how"), [(0, {"stall": True}), (3, {"stall_after": 0}), (0, {"stall_after": 100_000})]
)
def test_a_stalled_transfer_is_made_again(dest, number, how):
    with LoopbackServer(CONTENT, behave=on(number, **how)) as server:
        status = get(server, dest, timeout=0.5)
    check_delivered(dest)
    assert status.complete


def test_a_server_that_drips_is_a_stalled_error_as_if_nothing_came(dest):
    with LoopbackServer(CONTENT, behave=always(rate=20)) as server, pytest.raises(StalledError):
        get(server, dest, timeout=0.5)
    assert len(server.requests) < 30


def test_a_slow_connection_is_left_and_its_bytes_are_kept(dest):
    size = 16 << 20
    with LoopbackServer(Content(size, etag='"a"'), behave=on(2, rate=40_000)) as server:
        status = get(server, dest, rate=None)
    assert hashlib.sha256(dest.read_bytes()).digest() == hashlib.sha256(pattern(0, size - 1)).digest()
    assert status.download_errors == 0
    # What it got was kept: besides the little that the system held for it, no byte came twice.
    assert server.requests[2].sent < 1 << 20
    assert sum(request.sent for request in server.requests) < size + (4 << 20)


def test_a_server_that_never_answers_is_a_stalled_error(dest):
    with LoopbackServer(CONTENT, behave=always(stall=True)) as server, pytest.raises(StalledError):
        get(server, dest, timeout=0.3, tries=1)
    assert names(dest.parent) == set()


def test_a_server_that_dies_is_a_typed_error_soon_and_the_next_call_goes_on(dest):
    with LoopbackServer(CONTENT) as server:
        server.behave = lambda request: (
            threading.Thread(target=server.close).start() if request.number == 4 else None
        )
        with pytest.raises(TransferError) as caught:
            get(server, dest, tries=2)
    error = caught.value
    assert error.resumable
    assert error.status.resumable
    there = error.status.cached_or_streamed_bytes
    assert names(dest.parent) == {path.name for path in parts(dest)}
    with LoopbackServer(CONTENT) as again:  # another port, the same content by its ETag
        status = get(again, dest)
    check_delivered(dest)
    assert status.resumed_bytes == there
    assert again.sent == SIZE - there


def test_nobody_at_the_port_is_a_network_error(dest):
    with LoopbackServer(CONTENT) as server:
        url = server.url
    with pytest.raises(NetworkError, match="connection"):
        get(server, dest, url=url, tries=1)
    assert names(dest.parent) == set()


# --- servers without ranges ------------------------------------------------------------------------


def test_a_first_answer_200_is_adopted_whole(dest):
    with LoopbackServer(CONTENT, behave=on(0, ranges=False)) as server:
        get(server, dest)
    check_delivered(dest)
    assert len(server.requests) == 1


def test_a_server_that_never_has_ranges_sends_everything_once(dest):
    # Go buffered the whole file for each block: 64 MiB fetched for a file of 4 MiB.
    with LoopbackServer(CONTENT, behave=always(ranges=False)) as server:
        status = get(server, dest, concurrency=8)
    check_delivered(dest)
    assert server.sent == SIZE
    assert any("one stream" in note for note in status.notes)


def test_the_status_of_a_buffer_and_of_a_stream_says_that_there_are_no_ranges(server):
    with LoopbackServer(CONTENT, behave=always(ranges=False)) as rangeless:
        into = largefile.download(rangeless.url, into=bytearray(SIZE), proxy="")
        with largefile.stream(rangeless.url, proxy="") as source:
            assert source.read() == CONTENT
            assert into.notes == source.status().notes != ()
    assert largefile.download(server.url, into=bytearray(SIZE), proxy="").notes == ()


def test_a_rangeless_body_that_was_cut_is_read_again_and_its_blocks_are_kept(dest):
    def script(request):
        return Behaviour(ranges=False, cut_after=20 * BLOCK if request.number == 0 else None)

    with LoopbackServer(CONTENT, behave=script) as server:
        status = get(server, dest)
    check_delivered(dest)
    assert len(server.requests) == 2
    assert status.downloaded_blocks == status.download_blocks


@pytest.mark.parametrize("number", [1, 3, 5])
def test_a_later_answer_200_is_right_too(dest, number):
    with LoopbackServer(CONTENT, behave=after(number, ranges=False)) as server:
        status = get(server, dest, digest=sha256(CONTENT))
    check_delivered(dest)
    assert len(server.requests) <= number + 5
    assert status.downloaded_bytes <= 2 * SIZE


@pytest.mark.parametrize("number", [1, 3, 5])
def test_one_answer_200_in_the_middle_is_right_too(dest, number):
    with LoopbackServer(CONTENT, behave=on(number, ranges=False)) as server:
        get(server, dest, digest=sha256(CONTENT))
    check_delivered(dest)


# --- answers that are not what was asked for ---------------------------------------------------------

LIES = {
    "says another start": {"content_range": f"bytes 1-{BLOCK}/{SIZE}"},
    "gives another start": {"serve": (7, 7 + BLOCK)},
    "gives more": {"serve": (0, SIZE - 1)},
    "no Content-Range": {"headers": {"Content-Range": None}},
    "bad Content-Range": {"content_range": "bytes nonsense"},
    "multipart": {"headers": {"Content-Type": "multipart/byteranges; boundary=x", "Content-Range": None}},
    "gzip": {"headers": {"Content-Encoding": "gzip"}},
    "a page": {
        "status": 200,
        "body": b"<html>please log in",
        "headers": {"Content-Type": "text/html", "ETag": None},
    },
    "wrong length": {"headers": {"Content-Length": "77"}},
}


@pytest.mark.parametrize(("number", "lie"), [(3 * (n % 2), lie) for n, lie in enumerate(LIES)])
def test_one_lie_costs_a_retry_and_no_byte(dest, lie, number):
    with LoopbackServer(CONTENT, behave=on(number, **LIES[lie])) as server:
        status = get(server, dest, digest=sha256(CONTENT))
    check_delivered(dest)
    assert status.complete


@pytest.mark.parametrize("lie", ["says another start", "gzip", "wrong length", "bad Content-Range"])
def test_a_server_that_only_lies_is_a_protocol_error(dest, lie):
    how = {"gives another start": {"serve": (7, SIZE - 1)}}.get(lie, LIES[lie])
    with LoopbackServer(CONTENT, behave=always(**how)) as server, pytest.raises(ProtocolError):
        get(server, dest, tries=2)
    assert names(dest.parent) == set()


@pytest.mark.parametrize("at_most", [1, 1000, BLOCK, BLOCK + 1, SIZE // 3])
def test_one_shorter_answer_is_used_and_gone_on_from(dest, at_most):
    with LoopbackServer(CONTENT, behave=on(0, 2, at_most=at_most)) as server:
        get(server, dest, digest=sha256(CONTENT))
    check_delivered(dest)
    assert server.sent == SIZE


@pytest.mark.parametrize("block_size", [BLOCK, 1 << 20])
def test_a_server_that_gives_64_kib_at_most_is_complete_all_the_same(dest, block_size):
    with LoopbackServer(CONTENT, behave=always(at_most=64 * 1024)) as server:
        status = get(server, dest, block_size=block_size, digest=sha256(CONTENT))
    check_delivered(dest)
    assert server.sent == SIZE
    assert len(server.requests) == 41
    assert status.download_errors == 0


def test_answers_of_half_of_what_was_asked_are_complete(dest):
    def script(request):
        first, last = request.range
        return Behaviour(at_most=max(1, (last - first + 1) // 2))

    with LoopbackServer(CONTENT, behave=script) as server:
        get(server, dest)
    check_delivered(dest)
    assert server.sent == SIZE


def test_a_byte_at_a_time_ends_in_an_error_and_not_in_a_million_requests(dest):
    with LoopbackServer(CONTENT[:5000], behave=always(at_most=1)) as server, pytest.raises(TransferError):
        get(server, dest, block_size=4096, tries=1)
    assert len(server.requests) < 1000
    assert not dest.exists()


# --- another version -------------------------------------------------------------------------------


def replace_at(server, number, content=OTHER, etag='"v2"'):
    def script(request):
        if request.number == number:
            server.replace(content, etag=etag)

    return script


def test_a_new_version_in_the_middle_is_begun_anew_and_never_mixed(server, dest):
    server.behave = replace_at(server, 4)
    status = get(server, dest)
    check_delivered(dest, OTHER)
    assert any("changed" in note for note in status.notes)
    assert status.identity["etag"] == '"v2"'


def test_a_new_version_of_another_size_is_begun_anew(server, dest):
    server.behave = replace_at(server, 4, OTHER[: SIZE // 2])
    get(server, dest)
    check_delivered(dest, OTHER[: SIZE // 2])


def test_on_change_fail_keeps_the_old_bytes_and_says_what_changed(server, dest):
    server.behave = replace_at(server, 4)
    with pytest.raises(SourceChangedError, match=r'"v2".*"v1"') as caught:
        get(server, dest, on_change="fail")
    assert caught.value.status.cached_or_streamed_bytes > 0
    assert names(dest.parent) == {path.name for path in parts(dest)}
    with pytest.raises(SourceChangedError):
        get(server, dest, on_change="fail")
    status = get(server, dest)
    check_delivered(dest, OTHER)
    assert status.resumed_bytes == 0


def test_a_source_that_changes_all_the_time_is_an_error_after_one_restart(server, dest):
    server.behave = lambda request: server.replace(OTHER, etag=f'"v{request.number}"')
    with pytest.raises(SourceChangedError):
        get(server, dest)
    assert not dest.exists()


@pytest.mark.parametrize("stale", [True, False], ids=["until it is told to ask", "once"])
def test_what_a_cache_on_the_way_makes_of_it_costs_no_restart(dest, stale):
    def script(request):
        first, last = request.range or (0, SIZE - 1)
        fresh = "cache-control" in request.headers
        if request.number < 3 or (fresh if stale else request.number > 3):
            return None
        return Behaviour(content_range=f"bytes {first}-{last}/{SIZE + 5}")

    with LoopbackServer(CONTENT, behave=script) as server:
        status = get(server, dest)
        assert not any("cache-control" in request.headers for request in server.requests[:3])
    check_delivered(dest)
    assert status.notes == ()


# --- one content under an ETag for each edge ---------------------------------------------------------


def edges(request):
    return Behaviour(headers={"ETag": f'"edge-{request.connection % 3}-{request.number % 2}"'})


def test_a_digest_vouches_where_each_edge_has_an_etag_of_its_own(dest):
    with LoopbackServer(CONTENT, behave=edges) as server:
        status = get(server, dest, digest=sha256(CONTENT))
        assert server.sent < 3 * SIZE
    check_delivered(dest)
    assert status.verified_by == "digest"
    assert sum("begun anew" in note for note in status.notes) == 1


@pytest.mark.parametrize("options", [{}, {"digest": sha256(CONTENT), "on_change": "fail"}])
def test_without_a_digest_or_leave_to_begin_anew_such_edges_are_an_error(dest, options):
    with LoopbackServer(CONTENT, behave=edges) as server, pytest.raises(SourceChangedError):
        get(server, dest, **options)
    assert not dest.exists()


def test_a_digest_excuses_no_mixture(dest):
    """Two contents under ETags of their own, on and on: whatever comes of it, it has the digest."""

    def behave(request):
        return Behaviour(content=Content.of(OTHER, '"b"', None)) if request.number % 2 else None

    with LoopbackServer(CONTENT, behave=behave, last_modified=None) as server:
        with pytest.raises(DigestMismatchError):
            get(server, dest, digest=sha256(CONTENT))
    assert names(dest.parent) == {"file.bin.bad"}


def test_a_digest_excuses_no_other_date_or_size(dest):
    def behave(request):
        return Behaviour(
            headers={"ETag": f'"{request.number % 2}"', "Last-Modified": DATES[request.number % 2]}
        )

    with LoopbackServer(CONTENT, behave=behave) as server, pytest.raises(SourceChangedError):
        get(server, dest, digest=sha256(CONTENT))


def test_a_new_version_between_two_calls_is_begun_anew(server, dest):
    server.behave = after(4, status=404)
    with pytest.raises(NotFoundError):
        get(server, dest)
    server.behave = None
    server.content = OTHER
    status = get(server, dest)
    check_delivered(dest, OTHER)
    assert any("ETag" in note for note in status.notes)


@pytest.mark.parametrize("with_digest", [False, True])
def test_without_a_validator_another_process_goes_on_only_with_a_digest(dest, with_digest):
    options = {"digest": sha256(CONTENT)} if with_digest else {}
    with LoopbackServer(CONTENT, etag=None, last_modified=None, behave=after(4, status=404)) as server:
        with pytest.raises(NotFoundError) as caught:
            get(server, dest, **options)
        server.behave = None
        before = server.sent
        status = get(server, dest, **options)
        check_delivered(dest)
    there = caught.value.status.cached_or_streamed_bytes
    assert there > 0
    if with_digest:
        assert status.resumed_bytes == there
        assert server.sent - before == SIZE - there
    else:
        assert status.resumed_bytes == 0
        assert any("neither ETag nor Last-Modified" in note for note in status.notes)


def test_without_a_validator_one_process_completes(dest):
    with LoopbackServer(CONTENT, etag=None, last_modified=None) as server:
        status = get(server, dest)
    check_delivered(dest)
    assert status.verified_by == "size"


# --- no size ---------------------------------------------------------------------------------------

UNSIZED = {"ranges": False, "chunked": True}


def test_a_chunked_body_without_a_size_is_complete_by_its_last_chunk(dest):
    with LoopbackServer(CONTENT, behave=always(**UNSIZED)) as server:
        status = get(server, dest)
    check_delivered(dest)
    assert status.downloaded_bytes == status.cached_or_streamed_bytes == SIZE
    assert any("size" in note for note in status.notes)
    assert len(server.requests) == 1


@pytest.mark.parametrize("how", [{**UNSIZED, "cut_after": 100_000}, {"ranges": False, "no_length": True}])
def test_an_unsized_body_without_a_proven_end_is_an_error_and_leaves_nothing(dest, how):
    with LoopbackServer(CONTENT, behave=always(**how)) as server, pytest.raises(NetworkError):
        get(server, dest)
    assert names(dest.parent) == set()


def test_an_unsized_body_that_just_ends_is_complete_if_the_digest_matches(dest):
    with LoopbackServer(CONTENT, behave=always(ranges=False, no_length=True)) as server:
        status = get(server, dest, digest=sha256(CONTENT))
    check_delivered(dest)
    assert status.verified_by == "digest"


def test_an_unsized_body_of_another_digest_is_put_aside(dest):
    with LoopbackServer(CONTENT, behave=always(**UNSIZED)) as server, pytest.raises(DigestMismatchError):
        get(server, dest, digest=sha256(OTHER))
    assert names(dest.parent) == {"file.bin.bad"}


def test_an_unsized_body_that_stalls_is_an_error_and_leaves_nothing(dest):
    with (
        LoopbackServer(CONTENT, behave=always(**UNSIZED, stall_after=1000)) as server,
        pytest.raises(StalledError),
    ):
        get(server, dest, timeout=0.4)
    assert names(dest.parent) == set()


# --- redirects -------------------------------------------------------------------------------------


def redirect(to, status=302):
    return always(status=status, headers={"Location": to})


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_headers_and_credentials_stay_with_their_origin(server, dest, status):
    with LoopbackServer(b"", behave=redirect(server.at("/there?token=1"), status)) as front:
        get(front, dest, headers={"X-Secret": "abc"}, auth=("me", "pass"))
    check_delivered(dest)
    assert front.requests[0].headers["x-secret"] == "abc"
    assert front.requests[0].headers["authorization"].startswith("Basic ")
    assert len(front.requests) == 1
    for request in server.requests:
        assert request.path == "/there?token=1"
        assert "x-secret" not in request.headers
        assert "authorization" not in request.headers


def test_a_redirect_within_the_origin_takes_the_headers_along(server, dest):
    server.behave = lambda r: (
        Behaviour(status=302, headers={"Location": "/there"}) if r.path == "/file.bin" else None
    )
    get(server, dest, headers={"X-Secret": "abc"})
    check_delivered(dest)
    assert {request.headers["x-secret"] for request in server.requests} == {"abc"}


def test_a_redirect_in_the_middle_is_followed(server, dest):
    server.behave = lambda r: Behaviour(status=302, headers={"Location": "/there"}) if r.number == 3 else None
    get(server, dest)
    check_delivered(dest)


def test_an_expired_address_is_had_again_from_the_origin(dest):
    with LoopbackServer(CONTENT) as server:

        def script(request):
            if request.path == "/file.bin":
                return Behaviour(status=302, headers={"Location": f"/signed{request.number}"})
            return Behaviour(status=403) if request.number in (4, 5) else None

        server.behave = script
        get(server, dest, concurrency=2)
    check_delivered(dest)
    assert len({request.path for request in server.requests}) >= 3


def test_a_redirect_loop_is_refused(server, dest):
    server.behave = redirect("/file.bin")
    with pytest.raises(RefusedError):
        get(server, dest)
    assert len(server.requests) <= 12
    assert names(dest.parent) == set()


@pytest.mark.parametrize("to", ["file:///etc/passwd", "ftp://127.0.0.1/x"])
def test_a_redirect_out_of_http_is_refused(server, dest, to):
    server.behave = redirect(to)
    with pytest.raises(RefusedError):
        get(server, dest)
    assert len(server.requests) == 1


# --- what the caller asks for ----------------------------------------------------------------------


def test_a_deadline_ends_it_and_the_next_call_goes_on(dest):
    with LoopbackServer(CONTENT, rate=400_000) as server:
        with pytest.raises(DeadlineError, match=r"0\.5 s") as caught:
            get(server, dest, deadline=0.5)
        assert caught.value.resumable
        server.rate = None
        status = get(server, dest)
    check_delivered(dest)
    assert status.resumed_bytes == caught.value.status.cached_or_streamed_bytes > 0


def test_a_deadline_holds_while_nobody_answers(dest):
    with (
        LoopbackServer(CONTENT, behave=always(stall=True)) as server,
        pytest.raises(LargeFileError) as caught,
    ):
        get(server, dest, deadline=0.5)
    assert isinstance(caught.value, DeadlineError)


@pytest.mark.parametrize("concurrency", [1, 4])
def test_the_rate_is_kept(dest, concurrency):
    with LoopbackServer(CONTENT) as server:
        began = time.monotonic()
        get(server, dest, rate=SIZE // 2, concurrency=concurrency)
        seconds = time.monotonic() - began
    check_delivered(dest)
    assert seconds >= 1.4, "a limit is a promise to others; only too fast is wrong"


def test_a_buffer_is_filled_and_not_a_byte_beyond(server):
    target = bytearray(b"\xee" * (SIZE + 100))
    status = get(server, None, into=target, digest=sha256(CONTENT))
    assert target[:SIZE] == CONTENT
    assert target[SIZE:] == b"\xee" * 100
    assert (status.complete, status.path, status.verified_by) == (True, None, "digest")
    with pytest.raises(DigestMismatchError):
        get(server, None, into=target, digest=sha256(OTHER))


def test_a_buffer_that_is_too_short_or_read_only_is_a_value_error(server):
    with pytest.raises(ValueError, match=f"{SIZE - 1} bytes.*{SIZE}"):
        get(server, None, into=bytearray(SIZE - 1))
    with pytest.raises(TypeError, match="read-only"):
        get(server, None, into=bytes(SIZE))


@pytest.mark.parametrize("size", [0, 1])
def test_a_buffer_takes_the_smallest_contents(size):
    with LoopbackServer(CONTENT[:size]) as server:
        target = bytearray(size)
        assert get(server, None, into=target).complete
    assert target == CONTENT[:size]


def test_a_buffer_survives_the_same_misbehaviour():
    with LoopbackServer(CONTENT, behave=on(0, 2, cut_after=50_000)) as server:
        target = bytearray(SIZE)
        get(server, None, into=target)
    assert target == CONTENT


def test_a_buffer_is_not_mixed_from_two_versions(server):
    server.behave = replace_at(server, 3)
    with pytest.raises(SourceChangedError):
        get(server, None, into=bytearray(SIZE))


def test_reports_never_go_back_and_the_last_one_is_the_end(dest):
    reports = []
    with LoopbackServer(CONTENT, rate=1_000_000) as server:
        get(server, dest, progress=reports.append)
    done = [report.cached_or_streamed_bytes for report in reports]
    assert done == sorted(done)
    assert done[-1] == SIZE
    assert len(reports) > 2


def test_a_progress_callback_that_raises_is_logged_and_not_fatal(server, dest, caplog):
    def tell(stats):
        raise RuntimeError("the bar broke")

    with caplog.at_level(logging.ERROR, "largefile"):
        get(server, dest, progress=tell)
    check_delivered(dest)
    assert caplog.text.count("RuntimeError: the bar broke") == 1


def test_cancel_ends_it_within_a_second_and_the_next_call_goes_on(dest):
    with LoopbackServer(CONTENT, rate=400_000) as server:
        began = threading.Event()
        job = largefile.caching.start_download(
            server.url,
            dest,
            block_size=BLOCK,
            proxy="",
            durable=False,
            progress=lambda stats: began.set() if stats.cached_or_streamed_blocks > 2 else None,
        )
        assert began.wait(20)
        job.cancel()
        with pytest.raises(largefile.CancelledError) as caught:
            job.result(1.0)
        server.rate = None
        status = get(server, dest)
    check_delivered(dest)
    assert caught.value.resumable
    assert status.resumed_bytes == caught.value.status.cached_or_streamed_bytes > 0


def test_resume_false_begins_anew(server, dest):
    server.behave = after(4, status=404)
    with pytest.raises(NotFoundError):
        get(server, dest)
    server.behave = None
    assert get(server, dest, resume=False).resumed_bytes == 0
    check_delivered(dest)


def test_a_complete_partial_is_published_after_one_question_or_by_its_digest_alone(server, dest):
    dest.write_bytes(b"in the way")
    with pytest.raises(largefile.DestinationExistsError):
        get(server, dest)
    assert server.requests == []
    dest.unlink()

    def late(request):  # it comes while we are at it
        dest.write_bytes(b"late")

    server.behave = late
    with pytest.raises(largefile.DestinationExistsError):
        get(server, dest)
    asked = len(server.requests)
    dest.unlink()
    with pytest.raises(largefile.DestinationExistsError):
        get(server, dest)  # the version is asked for, and not a byte of it is used
    assert [request.range for request in server.requests[asked:]] == [(0, 0)]
    asked = len(server.requests)
    dest.unlink()
    get(server, dest, digest=sha256(CONTENT))
    check_delivered(dest)
    assert len(server.requests) == asked


def test_a_complete_partial_of_another_version_is_not_published(server, dest):
    # Two addresses that differ in their query look the same in the index.
    def late(request):
        dest.write_bytes(b"late")

    server.behave = late
    with pytest.raises(largefile.DestinationExistsError):
        get(server, dest)
    dest.unlink()
    server.behave = None
    server.replace(OTHER, etag='"v2"')
    status = get(server, dest)
    assert dest.read_bytes() == OTHER
    assert any("begun anew" in note for note in status.notes)


def test_a_complete_partial_is_published_though_the_server_has_gone(dest):
    def late(request):
        dest.write_bytes(b"late")

    with LoopbackServer(CONTENT, behave=late) as server:
        with pytest.raises(largefile.DestinationExistsError):
            get(server, dest)
    dest.unlink()
    get(server, dest, tries=1)
    check_delivered(dest)


def test_a_digest_given_once_still_decides_when_it_is_not_given_again(dest):
    # Without validators it is all that tells the two versions apart.
    with LoopbackServer(CONTENT, etag=None, last_modified=None, behave=after(2, cut_after=0)) as server:
        with pytest.raises(TransferError):
            get(server, dest, digest=sha256(CONTENT), tries=1)
        server.behave = None
        server.replace(OTHER, etag=None, last_modified=None)
        with pytest.raises(DigestMismatchError):
            get(server, dest)
        assert not dest.exists()
        get(server, dest)
    assert dest.read_bytes() == OTHER


def test_a_login_page_does_not_cost_what_is_there(dest):
    with LoopbackServer(CONTENT, behave=after(2, cut_after=0)) as server:
        with pytest.raises(TransferError):
            get(server, dest, tries=1)
        page = {"ETag": None, "Last-Modified": None, "Content-Type": "text/html"}
        server.behave = lambda request: Behaviour(
            status=200, ranges=False, headers=page, body=b"<html>log in</html>"
        )
        with pytest.raises(ProtocolError, match="left alone"):
            get(server, dest)
        server.behave = None
        assert get(server, dest).resumed_bytes > 0
    check_delivered(dest)


def test_an_empty_range_answer_is_not_believed_alone(dest):
    def lies(request):
        if request.range is None:
            return None
        return Behaviour(status=416, headers={"Content-Range": "bytes */0"}, body=b"")

    with LoopbackServer(CONTENT, behave=lies) as server:
        get(server, dest)
    check_delivered(dest)


def test_a_cache_of_unknown_version_is_not_gone_on_with(tmp_path):
    with LoopbackServer(CONTENT) as server, cached(tmp_path, SIZE) as cache:
        cache.write_at(OTHER[:BLOCK], 0)
        with largefile.HTTPReader(server.at("/x"), proxy="") as reader:
            with pytest.raises(largefile.SourceChangedError):
                largefile.CachingDownloader(reader, cache).run()


def test_a_cache_remembers_whose_bytes_it_began_with(tmp_path):
    with LoopbackServer(CONTENT, behave=after(2, cut_after=0)) as server, cached(tmp_path, SIZE) as cache:
        with largefile.HTTPReader(server.at("/x"), proxy="") as reader, pytest.raises(TransferError):
            largefile.CachingDownloader(reader, cache, tries=1).run()
        server.behave = None
        server.replace(OTHER, etag='"v2"')
        with largefile.HTTPReader(server.at("/x"), proxy="") as reader:
            with pytest.raises(largefile.SourceChangedError, match="v2"):
                largefile.CachingDownloader(reader, cache).run()


def test_nothing_is_left_running(dest):
    threads = threading.active_count()
    with LoopbackServer(CONTENT, behave=on(1, 2, cut_after=1000)) as server:
        get(server, dest)
    assert threading.active_count() == threads


# --- what the Go package does wrong ----------------------------------------------------------------


def cached(tmp_path, size=SIZE):
    data, index = tmp_path / "data", tmp_path / "index"
    create_cache_files(data, index, size, BLOCK)
    return largefile.LocalDownloadCache.open(data, index, durable=False)


def run_cached(server, tmp_path, size=SIZE, **options):
    reader = largefile.HTTPReader(server.url, proxy="", tries=1)
    with reader, cached(tmp_path, size) as cache:
        return largefile.CachingDownloader(reader, cache, durable=False, **options).run(), cache.read_at(
            size, 0
        )


def test_a_caching_downloader_fills_a_cache(server, tmp_path):
    status, content = run_cached(server, tmp_path)
    assert content == CONTENT
    assert (status.iterations, status.downloaded_bytes, status.downloaded_blocks) == (1, SIZE, 41)


def test_waiting_for_completion_ends_at_once_on_a_permanent_failure(tmp_path):
    # Go made 10,240 requests in 0.3 s and did not end.
    with (
        LoopbackServer(CONTENT, behave=after(1, status=404)) as server,
        pytest.raises(NotFoundError) as caught,
    ):
        run_cached(server, tmp_path, wait_for_completion=True, concurrency=4)
    assert caught.value.status.iterations == 1
    assert len(server.requests) <= 10  # what was under way, and each of that once more


def test_waiting_for_completion_pauses_between_passes_and_ends(tmp_path):
    with (
        LoopbackServer(CONTENT, behave=after(1, status=500)) as server,
        pytest.raises(ProtocolError) as caught,
    ):
        run_cached(server, tmp_path, wait_for_completion=True, max_iterations=2, tries=1, concurrency=2)
    assert caught.value.status.iterations == 3
    assert len(server.requests) <= 10
    assert server.requests[-1].at - server.requests[1].at >= 0.5


def test_waiting_for_completion_completes_when_the_server_is_well_again(tmp_path):
    def script(request):
        return Behaviour(status=500) if 1 <= request.number <= 4 else None

    with LoopbackServer(CONTENT, behave=script) as server:
        status, content = run_cached(server, tmp_path, wait_for_completion=True, tries=1, concurrency=2)
    assert content == CONTENT
    assert status.iterations > 1


def test_totals_are_not_added_up_again_at_each_pass(tmp_path):
    # Go: 4 blocks of which one fails twice were 10 downloaded blocks and 5 errors.
    failed = []

    def script(request):
        if request.number and len(failed) < 2:
            failed.append(request)
            return Behaviour(status=500)
        return None

    with LoopbackServer(CONTENT[: 4 * BLOCK], behave=script) as server:
        reader = largefile.HTTPReader(server.at("/x"), proxy="", timeout=5)
        with reader, cached(tmp_path, 4 * BLOCK) as cache:
            cache.pin(reader.identity)
            cache.write_at(CONTENT[:BLOCK], 0)
            status = largefile.CachingDownloader(
                reader, cache, concurrency=1, wait_for_completion=True, tries=1, durable=False
            ).run()
            assert cache.read_at(4 * BLOCK, 0) == CONTENT[: 4 * BLOCK]
    assert (status.downloaded_blocks, status.cached_or_streamed_blocks) == (3, 4)
    assert status.download_errors == len(failed) == 2
    assert status.resumed_bytes == BLOCK


def test_exhausted_retries_and_short_bodies_count_as_errors(dest):
    with (
        LoopbackServer(CONTENT, behave=after(1, cut_after=0)) as server,
        pytest.raises(TransferError) as caught,
    ):
        get(server, dest, tries=1)
    assert caught.value.status.download_errors > 0


def test_a_dead_server_is_not_asked_block_by_block(dest):
    size = 2000 * 4096
    with (
        LoopbackServer(Content(size), behave=after(1, cut_after=0)) as server,
        pytest.raises(TransferError) as caught,
    ):
        get(server, dest, block_size=4096, tries=1, concurrency=4)
    assert len(server.requests) < 60
    assert len(str(caught.value)) < 1000


def test_a_terabyte_is_planned_and_begun_without_its_bytes(tmp_path):
    size = 1 << 40
    with LoopbackServer(Content(size), behave=after(4, status=404)) as server:
        reader = largefile.HTTPReader(server.url, proxy="")
        data, index = tmp_path / "data", tmp_path / "index"
        create_cache_files(data, index, size, 1 << 20, reserve="span")
        with reader, largefile.LocalDownloadCache.open(data, index, reserve="span", durable=False) as cache:
            with pytest.raises(NotFoundError):
                largefile.CachingDownloader(reader, cache, durable=False).run()
            _, where = cache.next_cached(0)
            assert cache.read_at(1000, where.first) == server.content.read(where.first, where.first + 999)
