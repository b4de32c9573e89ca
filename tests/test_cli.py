"""The command line says what happened: one line, one JSON object, one exit code, and nothing is lost."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path

import click
import pytest
import trustme
from click.testing import CliRunner
from disk_helpers import folder, leave, new_cache, noise, put
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import largefile
from largefile import errors
from largefile.cli.app import program as main
from largefile.cli.exits import EXIT_CODES, MEANINGS, exit_code
from largefile.cli.inputs import PROXIES, headers, proxy, rate, size_or_auto
from largefile.cli.kept import hint, kept, way_on
from largefile.cli.report import printable
from largefile.cli.stopping import Signals, awaited
from largefile.core.ranges import ByteRange
from largefile.disk.cache import LocalDownloadCache
from largefile.disk.create import create_cache_files
from largefile.engine.job import Control, Job
from largefile.rules.identity import Identity
from largefile.testing.server import Behaviour, LoopbackServer

MIB = 1 << 20
CONTENT = noise(3 * MIB + 17)
GOLDEN = json.loads((Path(__file__).parent / "golden" / "index_files.json").read_text())


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    """In an empty folder, with no proxy between us and loopback."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


def run(*words):
    """One command: its exit code, stdout and stderr."""
    found = CliRunner().invoke(main, [str(word) for word in words])
    return found.exit_code, found.stdout, found.stderr


def start(*words, **streams):
    """The same in a process of its own."""
    command = [sys.executable, "-P", "-m", "largefile", *map(str, words)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    return subprocess.Popen(command, text=True, **pipes)


def listing():
    return sorted(path.name for path in Path().iterdir())


@pytest.fixture
def server():
    with LoopbackServer(CONTENT) as found:
        yield found


# --- help ------------------------------------------------------------------------------------------


def test_the_help_names_every_command_and_every_exit_code():
    code, out, _ = run("--help")
    assert code == 0
    for name in main.list_commands(None):
        assert name in out
    for number, words in MEANINGS.items():
        assert f"{number}  {words}" in out


@pytest.mark.parametrize("name", main.list_commands(None))
def test_every_command_and_every_option_is_explained(name):
    code, out, _ = run(name, "--help")
    assert code == 0
    for parameter in main.get_command(None, name).params:
        if isinstance(parameter, click.Option):
            assert parameter.help
            assert all(option in out for option in parameter.opts)


def test_version_is_the_library_s():
    assert run("--version") == (0, f"largefile {largefile.__version__}\n", "")


def test_no_command_is_answered_by_the_help():
    code, _, err = run()
    assert code == 2
    assert "Commands:" in err


# --- exit codes ------------------------------------------------------------------------------------

PLACE = ByteRange(0, 9)
SAMPLES = {
    "CacheBusyError": (11, errors.CacheBusyError("x.part", "pid 1")),
    "CacheError": (14, errors.CacheError("no")),
    "CacheIOError": (14, errors.CacheIOError(errno.EIO, "reading", "x")),
    "CachePoisonedError": (14, errors.CachePoisonedError("x", "a sync failed")),
    "CancelledError": (130, errors.CancelledError("cancelled")),
    "DeadlineError": (5, errors.DeadlineError("late")),
    "DestinationExistsError": (13, errors.DestinationExistsError("x")),
    "DestinationInUseError": (14, errors.DestinationInUseError("x", "a", "b")),
    "DigestMismatchError": (10, errors.DigestMismatchError("x", "a", "b")),
    "EngineDiedError": (1, errors.EngineDiedError("it ended with exit code 1", 1)),
    "IncompleteError": (7, errors.IncompleteError("missing")),
    "IndexCorruptError": (14, errors.IndexCorruptError("x", "no header")),
    "IndexVersionError": (14, errors.IndexVersionError("x", "9.0")),
    "InternalError": (1, errors.InternalError("a bug")),
    "InvalidBlockSizeError": (14, errors.InvalidBlockSizeError(1, 2)),
    "InvalidOffsetError": (14, errors.InvalidOffsetError(1, "0")),
    "LargeFileError": (1, errors.LargeFileError("something")),
    "NetworkError": (4, errors.NetworkError("no host", 6)),
    "NotEnoughSpaceError": (9, errors.NotEnoughSpaceError("x", 10, 5)),
    "NotFoundError": (3, errors.NotFoundError("404")),
    "PartialFileError": (14, errors.PartialFileError("x", "not ours")),
    "ProtocolError": (8, errors.ProtocolError("nonsense")),
    "ReadError": (7, errors.ReadError("failed")),
    "PrivateAddressError": (6, errors.PrivateAddressError("h", "127.0.0.1")),
    "RefusedError": (6, errors.RefusedError("403")),
    "SourceChangedError": (12, errors.SourceChangedError("new", "old")),
    "StalledError": (5, errors.StalledError("silence")),
    "TooLargeError": (6, errors.TooLargeError("http://h/x", 9, 10)),
    "ThrottledError": (15, errors.ThrottledError("429")),
    "TransferError": (7, errors.TransferError("failed")),
    "UncachedRangeError": (14, errors.UncachedRangeError(PLACE, PLACE)),
    "UnsizedSourceError": (8, errors.UnsizedSourceError("no size")),
}
OTHERS = [
    (2, ValueError("x")),
    (2, TypeError("x")),
    (2, click.UsageError("x")),
    (2, click.BadParameter("x")),
    (14, OSError(errno.EIO, "x")),
    (14, PermissionError(errno.EACCES, "x")),
    (130, KeyboardInterrupt()),
    (130, click.Abort()),
    (1, RuntimeError("x")),
]


@pytest.mark.parametrize("name", sorted(errors.__all__))
def test_every_class_of_error_has_its_exit_code(name):
    code, error = SAMPLES[name]
    assert type(error).__name__ == name
    assert exit_code(error) == code
    assert code in MEANINGS


@pytest.mark.parametrize(("code", "error"), OTHERS, ids=lambda value: type(value).__name__)
def test_other_errors_have_exit_codes_too(code, error):
    assert exit_code(error) == code


def test_no_row_of_the_table_is_hidden_by_an_earlier_one():
    kinds = [kind for kind, _ in EXIT_CODES]
    for number, kind in enumerate(kinds):
        assert not any(issubclass(kind, earlier) for earlier in kinds[:number])


def test_the_exit_codes_are_those_of_the_documentation():
    assert set(MEANINGS) == {*range(16), 130}


@pytest.mark.parametrize(
    ("status", "code", "name"),
    [
        (404, 3, "NotFoundError"),
        (410, 3, "NotFoundError"),
        (403, 6, "RefusedError"),
        (401, 6, "RefusedError"),
    ],
)
def test_what_the_server_refuses_has_its_exit_code(server, status, code, name):
    server.behave = lambda request: Behaviour(status=status)
    found, out, err = run("get", server.url, "--json", "-q")
    assert found == code
    assert json.loads(out)["error"] == name
    assert err.startswith("largefile: error: ")
    assert "Traceback" not in err
    assert listing() == []


def test_a_certificate_that_nobody_vouches_for_is_a_network_error():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            conn, _ = listener.accept()
            with contextlib.suppress(OSError), context.wrap_socket(conn, server_side=True):
                pass

        thread = threading.Thread(target=serve)
        thread.start()
        code, _, err = run("get", f"https://127.0.0.1:{listener.getsockname()[1]}/x", "-q")
        thread.join()
    assert code == 4
    assert "certificate" in err


def test_a_server_that_falls_silent_ends_in_5(server):
    server.behave = lambda request: Behaviour(stall=True)
    assert run("get", server.url, "-q", "--deadline", "0.2")[0] == 5


def test_a_wrong_digest_ends_in_10_and_the_right_one_is_named_as_the_proof(server):
    wrong, right = (hashlib.sha256(data).hexdigest() for data in (b"", CONTENT))
    assert run("get", server.url, "-o", "a", "-q", "--checksum", f"sha256:{wrong}")[0] == 10
    assert not Path("a").exists()
    code, out, _ = run("get", server.url, "-o", "b", "-q", "--json", "--digest", f"sha256:{right}")
    assert code == 0
    assert json.loads(out)["verified_by"] == "digest"


def test_a_busy_download_ends_in_11(server):
    with new_cache(Path(), len(CONTENT), MIB):
        code, _, err = run("get", server.url, "-o", "x", "-q")
    assert code == 11
    assert f"pid {os.getpid()}" in err


def test_a_changed_source_ends_in_12_only_where_it_should(server):
    interrupt(server, "x")
    server.content = other = noise(len(CONTENT), seed=1)
    code, _, err = run("get", server.url, "-o", "x", "-q", "--on-change", "fail")
    assert code == 12
    assert "changed" in err
    code, out, _ = run("get", server.url, "-o", "x", "-q", "--json")
    assert code == 0
    assert json.loads(out)["notes"]
    assert Path("x").read_bytes() == other


def test_an_existing_destination_ends_in_13_and_is_replaced_only_on_demand(server):
    Path("x").write_text("mine")
    code, _, err = run("get", server.url, "-o", "x", "-q")
    assert code == 13
    assert "x exists; --overwrite replaces it" in err
    assert Path("x").read_text() == "mine"
    assert run("get", server.url, "-o", "x", "-q", "--overwrite")[0] == 0
    assert Path("x").read_bytes() == CONTENT


@pytest.mark.parametrize(
    "words",
    [
        ["get"],
        ["get", "ftp://example.org/x"],
        ["get", "http://user:secret@example.org/x"],
        ["get", "http://example.org/x", "-x", "0"],
        ["get", "http://example.org/x", "-x", "many"],
        ["get", "http://example.org/x", "--block-size", "1"],
        ["get", "http://example.org/x", "--block-size", "64Q"],
        ["get", "http://example.org/x", "--limit-rate", "0"],
        ["get", "http://example.org/x", "--timeout", "0"],
        ["get", "http://example.org/x", "--deadline", "-1"],
        ["get", "http://example.org/x", "--digest", "md99:00"],
        ["get", "http://example.org/x", "--on-change", "panic"],
        ["get", "http://example.org/x", "-H", "secret token"],
        ["get", "http://example.org/x", "-H", "A: 1", "-H", "a: 2"],
        ["get", "http://example.org/x", "-H", "Range: bytes=0-1"],
        ["get", "http://example.org/x", "-o", ""],
        ["get", "http://example.org/x", "-o", "nowhere/"],
        ["get", "http://example.org/x", "--proxy", "secret"],
        ["get", "http://example.org/x", "--proxy", "secret:3128"],
        ["get", "http://example.org/x", "--proxy", "ftp://me:secret@host"],
        ["get", "http://example.org/x", "--proxy", "http://"],
        ["get", "http://example.org/x", "--proxy", "http://host:secret"],
        ["get", "http://example.org/x", "--proxy", "http://host:0"],
        ["get", "http://example.org/x", "--proxy", "http://host:99999"],
        ["get", "http://example.org/x", "--proxy", "http://ho st"],
        ["get", "http://example.org/x", "--bogus"],
        ["demo", "--size", "5"],
        ["verify"],
        ["bogus"],
    ],
    ids=lambda words: " ".join(words),
)
def test_wrong_usage_is_one_line_and_2_and_makes_nothing(words):
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert err.startswith("largefile: error: ")
    assert err.count("\n") == 1
    assert "secret" not in err
    assert listing() == []


@pytest.mark.parametrize("words", [["get"], ["cat"], ["get", "--"]], ids=lambda words: " ".join(words))
def test_who_gives_no_url_is_told_so(words):
    assert "Missing argument 'URL'" in run(*words)[2]


def test_a_shell_completes_what_is_typed(monkeypatch):
    found = {}
    for typed in ("ver", "get --qui"):
        words = f"largefile {typed}".split()
        monkeypatch.setenv("_LARGEFILE_COMPLETE", "bash_complete")
        monkeypatch.setenv("COMP_WORDS", " ".join(words))
        monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
        found[typed] = CliRunner().invoke(main, [], prog_name="largefile").output
    assert found == {"ver": "plain,verify\n", "get --qui": "plain,--quiet\n"}


@pytest.mark.parametrize("words", [["ftp://example.org/x"], ["http://example.org/x", "--bogus"], []])
def test_json_says_what_failed_before_anything_began(words):
    code, out, _ = run("get", "--json", *words)
    found = json.loads(out)
    assert code == 2
    assert found["complete"] is False
    assert found["message"]
    assert set(found) == {*(f.name for f in dataclasses.fields(largefile.DownloadStatus)), "error", "message"}


def test_a_bug_is_told_with_its_traceback_and_never_as_the_user_s_fault(monkeypatch):
    def broken(*args, **options):
        raise RuntimeError("broken")

    monkeypatch.setattr("largefile.caching.start_download", broken)
    code, _, err = run("get", "http://example.org/x")
    assert code == 1
    assert err.startswith("largefile: error: a bug of largefile: RuntimeError: broken\n")
    assert "Traceback" in err


def test_verbose_shows_the_traceback_of_any_error(server):
    server.behave = lambda request: Behaviour(status=404)
    assert "Traceback" in run("get", server.url, "-v")[2]


def test_what_a_server_says_can_not_steer_the_terminal(server):
    server.behave = lambda request: Behaviour(status=404, reason="\x1b[31m\x07no")
    _, _, err = run("get", server.url)
    assert not any(c in err for c in "\x1b\x07")


@given(st.text())
def test_a_message_is_one_printable_line(text):
    assert printable(text).isprintable()


# --- get -------------------------------------------------------------------------------------------


def test_get_takes_the_name_from_the_url_into_this_folder(server):
    code, out, err = run("get", server.at("/a/b/..%2Fmodel.bin?key=secret"))
    assert (code, out) == (0, "")
    assert listing() == ["model.bin"]
    assert Path("model.bin").read_bytes() == CONTENT
    assert "model.bin: 3.0 MiB in " in err
    assert "strong ETag" in err
    assert "secret" not in err


def test_get_puts_the_file_into_an_existing_folder(server):
    Path("into").mkdir()
    assert run("get", server.url, "-q", "-o", "into/")[0] == 0
    assert Path("into/file.bin").read_bytes() == CONTENT


def test_quiet_says_nothing(server):
    assert run("get", server.url, "-q") == (0, "", "")


def test_json_is_one_object_with_every_field_of_the_status(server):
    code, out, _ = run("get", server.url, "--json", "--block-size", "64K", "-x", "3")
    found = json.loads(out)
    assert code == 0
    assert list(found) == [field.name for field in dataclasses.fields(largefile.DownloadStatus)]
    assert found["complete"] is True
    assert found["downloaded_bytes"] == found["download_size"] == len(CONTENT)
    assert found["block_size"] == 65536
    assert out.count("\n") == 1


def test_headers_and_credentials_reach_the_server(server):
    code, _, _ = run("get", server.url, "-q", "-H", "X-Token: a: b", "--user", "me:my:pass")
    sent = server.requests[0].headers
    assert code == 0
    assert sent["x-token"] == "a: b"
    assert sent["authorization"] == "Basic bWU6bXk6cGFzcw=="


def test_a_password_left_out_is_asked_for_and_not_shown(server):
    words = ["get", server.url, "-q", "--user", "me"]
    found = CliRunner().invoke(main, words, input="my:pass\n")
    assert found.exit_code == 0
    assert server.requests[0].headers["authorization"] == "Basic bWU6bXk6cGFzcw=="
    assert "my:pass" not in found.output


def test_no_resume_throws_the_partial_away(server):
    interrupt(server, "x")
    code, out, _ = run("get", server.url, "-o", "x", "-q", "--json", "--no-resume")
    assert code == 0
    assert json.loads(out)["resumed_bytes"] == 0
    assert Path("x").read_bytes() == CONTENT


def screen_of(child, leader):
    """The text that a command has written to its terminal, until it ends; what steers it is left out."""
    screen = b""
    # At the end of the other side reading gives EIO.
    with os.fdopen(leader, "rb", buffering=0) as terminal, contextlib.suppress(OSError):
        while piece := terminal.read(65536):
            screen += piece
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.decode())


def test_a_terminal_gets_the_bar_and_the_map_and_stdout_stays_clean(server):
    leader, follower = os.openpty()
    child = start("get", server.url, "--json", stderr=follower)
    os.close(follower)
    screen = screen_of(child, leader)
    out, _ = child.communicate()
    assert child.returncode == 0
    assert json.loads(out)["complete"] is True
    assert "████" in screen
    assert "100%" in screen


def test_the_map_shows_where_the_holes_are(server):
    content = server.content
    identity = Identity(content.etag, content.last_modified, content.size)
    create_cache_files("x.part", "x.part.idx", content.size, MIB, identity=identity, url=server.url)
    with LocalDownloadCache.open("x.part", "x.part.idx") as cache:
        put(cache, CONTENT, 2, 3)
    more = threading.Event()

    def behave(request):
        if request.number:
            more.set()  # the first answer was taken, so there is a map
        return Behaviour(stall_after=0)

    server.behave = behave
    leader, follower = os.openpty()
    child = start("get", server.url, "-o", "x", "--timeout", "0.1", stderr=follower)
    os.close(follower)
    assert more.wait(20)
    child.send_signal(signal.SIGINT)
    screen = screen_of(child, leader)
    child.communicate()
    assert "·█" in screen
    assert "█·" not in screen


# --- interruptions ---------------------------------------------------------------------------------


def interrupt(server, dest, number=signal.SIGINT):
    """Begin a download of which the first MiB comes and the rest does not, and end it by a signal."""
    more = threading.Event()

    def behave(request):
        if request.number == 0:
            return None
        more.set()  # no second request is made before the files are there
        return Behaviour(stall=True)

    server.behave = behave
    child = start("get", server.url, "-o", dest, "--json", "--block-size", "64K")
    assert more.wait(20)
    with LocalDownloadCache.open(f"{dest}.part", f"{dest}.part.idx", read_only=True) as cache:
        while cache.next_outstanding(0)[1].first < MIB:
            assert cache.tail(timeout=20) is not None
    child.send_signal(number)
    out, err = child.communicate()
    server.behave = None
    server.requests.clear()
    return child.returncode, out, err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_keeps_the_partial_says_how_to_go_on_and_going_on_works(server, number):
    code, out, err = interrupt(server, "x", number)
    assert code == 130
    assert "largefile: error: interrupted\n" in err
    assert "kept in x.part; run the same command again to go on" in err
    assert "Traceback" not in err
    found = json.loads(out)
    assert (found["error"], found["complete"], found["resumable"]) == ("CancelledError", False, True)
    assert found["cached_or_streamed_bytes"] == MIB
    assert listing() == ["x.part", "x.part.idx"]
    code, out, _ = run("get", server.url, "-o", "x", "--json", "-q")
    assert code == 0
    assert json.loads(out)["resumed_bytes"] == MIB
    assert Path("x").read_bytes() == CONTENT


def test_an_interruption_that_comes_too_late_is_none():
    status, signals = largefile.DownloadStatus(complete=True), Signals()
    signals.count = 1
    assert awaited(Job(lambda: status, Control(), largefile.DownloadStats), signals) is status


def test_a_failure_at_the_moment_of_an_interruption_is_told_as_what_it_is():
    signals = Signals()
    signals.count = 1

    def fail():
        raise errors.NotFoundError("404")

    with pytest.raises(errors.NotFoundError):
        awaited(Job(fail, Control(), largefile.DownloadStats), signals)


def test_a_signal_cancels_the_job_and_its_status_is_kept():
    status, control, signals = largefile.DownloadStatus(resumed_bytes=5), Control(), Signals()
    stopped = threading.Event()
    control.on_cancel(stopped.set)

    def work():
        assert stopped.wait(20)
        error = errors.CancelledError("cancelled")
        error.status = status
        raise error

    signals.count = 1
    with pytest.raises(errors.CancelledError, match="interrupted") as found:
        awaited(Job(work, control, largefile.DownloadStats), signals)
    assert found.value.status is status


def test_a_timeout_that_the_job_itself_raises_is_its_end():
    def work():
        raise TimeoutError("a socket's")

    with pytest.raises(TimeoutError, match="a socket's"):
        awaited(Job(work, Control(), largefile.DownloadStats), Signals())


# --- how to go on ----------------------------------------------------------------------------------

AGAIN = "run the same command again to go on"


@pytest.mark.parametrize(
    ("status", "said"), [(404, False), (410, False), (403, False), (503, True), (500, True)]
)
def test_how_to_go_on_is_said_only_where_going_on_can_help(server, status, said):
    interrupt(server, "x")
    server.behave = lambda request: Behaviour(status=status)
    limit = ["--deadline", "0.5"] if said else []  # one that is hopeless ends by itself
    code, _, err = run("get", server.url, "-o", "x", "-q", *limit)
    assert code != 0
    assert "1.0 MiB of 3.0 MiB are kept in x.part" in err
    assert (AGAIN in err) == said


def test_without_a_partial_nothing_is_said_of_one(server):
    server.behave = lambda request: Behaviour(stall=True)
    _, _, err = run("get", server.url, "-o", "x", "-q", "--deadline", "0.2")
    assert err.count("\n") == 1


@pytest.mark.parametrize("blocks", [0, 1])
def test_a_partial_without_a_block_is_nothing_to_go_on_with(server, blocks):
    with new_cache(Path(), len(CONTENT), MIB) as cache:
        put(cache, CONTENT, *range(blocks))
    server.behave = lambda request: Behaviour(stall=True)
    _, _, err = run("get", server.url, "-o", "x", "-q", "--deadline", "0.2")
    assert (AGAIN in err) == bool(blocks)


def test_files_that_are_not_ours_are_nothing_to_go_on_with():
    Path("x.part").write_bytes(b"mine")
    assert hint(errors.NetworkError("no"), "x.part", AGAIN) is None
    Path("x.part.idx").write_bytes(b"mine")
    assert hint(errors.NetworkError("no"), "x.part", AGAIN) is None
    assert Path("x.part").read_bytes() == b"mine"


@pytest.mark.parametrize("name", sorted(errors.__all__))
def test_each_class_of_error_says_how_to_go_on_or_nothing(name):
    helped = {"NetworkError", "StalledError", "DeadlineError", "ThrottledError", "IncompleteError"}
    helped |= {"CancelledError", "ReadError", "TransferError", "CacheBusyError", "NotEnoughSpaceError"}
    assert bool(way_on(SAMPLES[name][1], AGAIN)) == (name in helped)


def test_another_process_is_waited_for_first(server):
    with new_cache(Path(), len(CONTENT), MIB) as cache:
        put(cache, CONTENT, 0)
        code, _, err = run("get", server.url, "-o", "x", "-q")
    assert code == 11
    assert f"once that process has ended, {AGAIN}" in err


def test_the_hint_counts_a_short_last_block_and_hashes_nothing():
    size = 2 * BLOCK + 5
    for there in [{0, 2}, {2}, {0, 1}]:
        with folder() as base:
            make(base, size, there, rotten=there, killed=True)
            assert kept(str(base / "x.part")) == (sum(5 if b == 2 else BLOCK for b in there), size)


# --- a partial file --------------------------------------------------------------------------------

BLOCK = 4096
FEW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def partials(draw):
    """Sizes, the blocks that are there, and those of them that rot."""
    blocks = draw(st.integers(1, 12))
    size = blocks * BLOCK - draw(st.integers(0, BLOCK - 1))
    there = draw(st.sets(st.integers(0, blocks - 1)))
    rotten = draw(st.sets(st.sampled_from(sorted(there)))) if there else set()
    return size, there, rotten


def make(base, size, there, rotten=(), killed=False):
    """A partial file on disk, whose writer has ended well or not; its right content."""
    content = noise(size)
    with new_cache(base, size, BLOCK) as cache:
        put(cache, content, *there)
        if killed:
            leave(cache)
    with (base / "x.part").open("r+b") as file:
        for block in rotten:
            at = min((block + 1) * BLOCK, size) - 1
            file.seek(at)
            file.write(bytes([content[at] ^ 1]))
    return content


def ranges_of(blocks, size):
    """Blocks as merged ranges, by counting bytes."""
    found = []
    for block in sorted(blocks):
        first, last = block * BLOCK, min((block + 1) * BLOCK, size) - 1
        if found and found[-1][1] + 1 == first:
            found[-1][1] = last
        else:
            found.append([first, last])
    return found


@FEW
@given(partials())
def test_info_tells_what_is_there_and_what_is_missing(partial):
    size, there, _ = partial
    blocks = -(-size // BLOCK)
    gone = ranges_of(set(range(blocks)) - there, size)
    with folder() as base:
        make(base, size, there)
        code, out, _ = run("info", "--json", base / "x")
        found = json.loads(out)
    assert code == 0
    assert (found["content_size"], found["block_size"], found["blocks"]) == (size, BLOCK, blocks)
    assert (found["cached_blocks"], found["complete"]) == (len(there), not gone)
    assert found["cached_bytes"] == size - sum(last - first + 1 for first, last in gone)
    assert (found["missing"], found["missing_ranges"]) == (gone[:10], len(gone))
    assert found["contiguous_bytes"] == (gone[0][0] if gone else size)
    assert found["writer_alive"] is False


@pytest.mark.parametrize("name", ["x", "x.part", "x.part.idx"])
def test_a_partial_file_is_found_by_each_of_its_names(name):
    make(Path(), 3 * BLOCK, {1})
    for command in ("info", "verify", "export"):
        assert run(command, name)[0] == 0


def test_info_for_people_shows_the_same_and_a_map():
    make(Path(), 4 * BLOCK, {0, 1})
    code, out, err = run("info", "x.part")
    assert (code, err) == (0, "")
    assert "8.0 KiB in 2 blocks, 50.0%" in out
    assert "[8192:16383]" in out
    assert out.splitlines()[-1] == "█" * 36 + "·" * 36


def test_info_sees_a_writer_at_work():
    with new_cache(Path(), 2 * BLOCK, BLOCK):
        found = json.loads(run("info", "x", "--json")[1])
    assert found["writer_alive"] is True
    assert f"pid {os.getpid()}" in found["owner"]


@pytest.mark.parametrize("command", ["info", "verify", "export"])
def test_what_is_not_there_or_is_no_index_ends_in_14(command):
    code, out, err = run(command, "nothing")
    assert (code, out) == (14, "")
    assert err == "largefile: error: nothing.part.idx: no such index\n"
    Path("x.part").write_bytes(b"abc")
    Path("x.part.idx").write_bytes(b"abc")
    assert run(command, "x")[0] == 14


def test_a_finished_file_is_not_mistaken_for_a_download():
    Path("x").write_text("done")
    assert "its download may be over" in run("info", "x")[2]


@FEW
@given(partials(), st.booleans())
def test_verify_lists_exactly_what_is_damaged_and_repair_makes_it_missing(partial, killed):
    size, there, rotten = partial
    with folder() as base:
        content = make(base, size, there, rotten, killed)
        before = [(base / name).read_bytes() for name in ("x.part", "x.part.idx")]
        code, out, _ = run("verify", "-q", "--json", base / "x.part")
        found = json.loads(out)
        assert code == (10 if rotten else 0)
        assert found["bad"] == ranges_of(rotten, size)
        assert found["checked_blocks"] == len(there)
        assert before == [(base / name).read_bytes() for name in ("x.part", "x.part.idx")]
        code, out, _ = run("verify", "-q", "--json", "--repair", base / "x.part")
        assert (code, json.loads(out)["repaired"]) == (0, bool(rotten))
        assert run("verify", "-q", base / "x.part")[0] == 0
        with LocalDownloadCache.open(base / "x.part", base / "x.part.idx") as cache:
            good = there - rotten
            assert cache.cached_bytes_and_blocks()[1] == len(good)
            for block in good:
                start, stop = block * BLOCK, min((block + 1) * BLOCK, size)
                assert cache.read_at(stop - start, start) == content[start:stop]


def test_verify_for_people_names_the_ranges_and_what_to_do():
    make(Path(), 3 * BLOCK, {0, 1}, {1})
    code, out, err = run("verify", "x")
    assert code == 10
    assert "damaged [4096:8191] 4.0 KiB" in out
    assert "--repair" in out
    assert "verif" in err  # its progress
    code, out, _ = run("verify", "x", "--repair")
    assert code == 0
    assert "run `largefile get` again" in out


def test_a_repair_beside_a_writer_is_refused_and_touches_nothing():
    with new_cache(Path(), 2 * BLOCK, BLOCK) as cache:
        put(cache, noise(2 * BLOCK), 0, 1)
        Path("x.part").write_bytes(bytes(2 * BLOCK))
        assert run("verify", "x", "-q", "--repair")[0] == 11
        assert cache.cached_bytes_and_blocks()[1] == 2


def test_a_data_file_of_another_size_is_not_hashed_but_named():
    make(Path(), 2 * BLOCK, {0})
    Path("x.part").write_bytes(b"short")
    code, _, err = run("verify", "x", "-q")
    assert code == 14
    assert "5 bytes" in err


@pytest.mark.parametrize(
    "case", [c for c in GOLDEN["cases"] if c["content_size"] <= 1 << 24], ids=lambda case: case["name"]
)
def test_export_is_byte_for_byte_what_go_writes(case):
    size, block_size = case["content_size"], case["block_size"]
    with new_cache(Path(), size, block_size) as cache:
        for off in case["set_offsets"]:
            first = off // block_size * block_size
            cache.write_at(bytes(min(block_size, size - first)), first)
    assert run("export", "x") == (0, case["json"], "")


def test_a_reader_that_leaves_ends_it_without_a_word():
    make(Path(), 2 * BLOCK, {0})
    leader, follower = os.pipe()
    os.close(leader)
    child = start("export", "x", stdout=follower)
    os.close(follower)
    _, err = child.communicate()
    assert (child.returncode, err) == (1, "")


# --- arguments, imports ----------------------------------------------------------------------------


@given(st.integers(1, 1 << 20), st.sampled_from([("", 1), ("K", 1 << 10), ("M", 1 << 20), ("G", 1 << 30)]))
def test_sizes_are_read_as_they_are_written(count, unit):
    letter, factor = unit
    for text in (f"{count}{letter}", f"{count}{letter.lower()}", f"{count}{letter}B", f"{count}{letter}iB"):
        if letter or not text.endswith("iB"):
            assert size_or_auto(None, None, text) == count * factor
    assert rate(None, None, f"{count}{letter}") == count * factor


@pytest.mark.parametrize("scheme", PROXIES)
@pytest.mark.parametrize("rest", ["host", "host:3128", "me:secret@host:1", "[::1]:1080", "host:3128/"])
def test_a_proxy_of_a_kind_that_is_known_is_taken_as_it_is(scheme, rest):
    assert proxy(None, None, f"{scheme}://{rest}") == f"{scheme}://{rest}"


def test_a_wrong_proxy_is_told_what_is_allowed():
    err = run("get", "http://example.org/x", "--proxy", "ftp://x")[2]
    assert all(scheme in err for scheme in PROXIES)
    assert "--proxy" in err


@given(
    st.dictionaries(
        st.from_regex(r"[a-z]{1,8}", fullmatch=True), st.from_regex(r"[!-~]{1,9}", fullmatch=True)
    )
)
def test_header_lines_are_read_as_they_are_written(fields):
    assert headers([f"{name}: {value}" for name, value in fields.items()]) == fields


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import largefile", {"click", "rich", "pycurl", "asyncio"}),
        ("from largefile.cli import main", {"rich", "pycurl", "asyncio"}),
        ("from largefile.cli import main; import largefile.caching", {"rich", "asyncio"}),
    ],
)
def test_what_is_not_needed_is_not_imported(code, absent):
    code += "; import sys; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert not absent & set(found.split())


def test_get_without_a_terminal_imports_no_rich_and_no_asyncio(server):
    code = (
        "import sys; from largefile.cli import main\ntry: main(sys.argv[1:])\n"
        "except SystemExit as end: print(end.code, *sys.modules)"
    )
    command = [sys.executable, "-c", code, "get", server.url, "-o", "other"]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert found[0] == "0"
    assert not {"rich", "asyncio"} & set(found)
