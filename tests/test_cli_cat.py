"""`largefile cat` writes a content in order to standard output, or says on stderr how much of it and why."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import os
import re
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
import tty
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from disk_helpers import noise
from hypothesis import given
from hypothesis import strategies as st
from processes import nothing_left_behind, until

from largefile.cli import stopping
from largefile.cli.app import program
from largefile.cli.cat import Outflow
from largefile.cli.options import CAT, GET
from largefile.cli.outlet import Outlet, ReaderGoneError, is_steering
from largefile.cli.report import Report
from largefile.cli.streams import Progress
from largefile.engine.job import Control
from largefile.errors import CancelledError
from largefile.testing.server import Behaviour, LoopbackServer

KIB, MIB = 1 << 10, 1 << 20
CONTENT = noise(3 * MIB + 17)
SMALL = ["--block-size", "64K"]
#: What a pipe holds, on every system that we know.
PIPE = 64 * KIB
#: A stop is answered within a second; so much more for a slow machine, and for Python to begin and to end.
SOON = 5.0


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    """In an empty folder, with no proxy between us and loopback."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


@pytest.fixture
def server():
    with LoopbackServer(CONTENT) as found:
        yield found


def start(*words, **streams):
    """The command in a process of its own."""
    command = [sys.executable, "-P", "-m", "largefile", *map(str, words)]
    return subprocess.Popen(command, **({"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams))


def ended(child):
    """Exit code, stdout and stderr."""
    try:
        out, err = child.communicate(timeout=60)
    finally:
        child.kill()
    return child.returncode, out or b"", (err or b"").decode()


def run(*words, **streams):
    return ended(start(*words, **streams))


def shell(script, *words):
    """A shell's pipeline, in which "$@" is the command: its stdout, stderr, and the command's exit code."""
    command = [sys.executable, "-P", "-m", "largefile", *map(str, words)]
    text = f'{{ "$@"; echo $? > code; }} {script}'
    found = subprocess.run(["sh", "-c", text, "sh", *command], capture_output=True, timeout=60)
    return found.stdout, found.stderr.decode(), int(Path("code").read_text())


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def same(found, wanted=CONTENT):
    """Compared by digest: nobody wants to see the difference of two MiB."""
    return (len(found), sha256(found)) == (len(wanted), sha256(wanted))


def first_mib_then(**how):
    """The first MiB is given, and then only `how`; ``.asked`` is set when more is wanted."""

    def behave(request):
        if request.number == 0:
            return None
        behave.asked.set()
        return Behaviour(**how)

    behave.asked = threading.Event()
    return behave


# --- what is written -------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [[], SMALL, [*SMALL, "-x", "1"], [*SMALL, "--window", "64K"]], ids=" ".join)
def test_stdout_gets_the_content_and_stderr_a_summary(server, words):
    code, out, err = run("cat", server.url, *words)
    assert code == 0
    assert same(out)
    assert re.fullmatch(
        r"http://127\.0\.0\.1:\d+/file\.bin: 3\.0 MiB in [\d.]+ s, .*/s; .*strong ETag\n", err
    )
    assert list(Path().iterdir()) == []


def test_it_can_be_piped_into_sha256sum(server):
    out, _, code = shell("| sha256sum", "cat", server.url)
    assert code == 0
    assert out.split()[0].decode() == sha256(CONTENT)


def test_it_can_be_piped_into_tar(server):
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for number in range(3):
            data = noise(MIB + number, seed=number)
            info = tarfile.TarInfo(f"member{number}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    server.content = archive.getvalue()
    _, _, code = shell("| tar x", "cat", server.url, *SMALL)
    assert code == 0
    assert all(same(Path(f"member{n}").read_bytes(), noise(MIB + n, seed=n)) for n in range(3))


def test_it_can_be_redirected_to_a_file(server):
    with open("x", "wb") as file:  # noqa: PTH123
        assert run("cat", server.url, "-q", stdout=file) == (0, b"", "")
    assert same(Path("x").read_bytes())


def test_quiet_says_nothing(server):
    assert run("cat", server.url, "-q")[2] == ""


def test_an_empty_content_is_nothing_and_no_error(server):
    server.content = b""
    assert run("cat", server.url, "-q") == (0, b"", "")


@pytest.mark.parametrize("how", [{"ranges": False}, {"ranges": False, "chunked": True}], ids=str)
def test_a_server_without_ranges_or_without_a_size_will_do(server, how):
    server.behave = lambda request: Behaviour(**how)
    code, out, _ = run("cat", server.url, *SMALL)
    assert code == 0
    assert same(out)


def test_get_to_a_minus_is_cat(server):
    _, out, err = run("cat", server.url, "-o", "-")
    code, same_out, same_err = run("get", server.url, "-o", "-", "--overwrite", "--no-resume")
    numbers = re.compile(r"in .*/s")
    assert code == 0
    assert same(out)
    assert same(same_out)
    assert numbers.sub("", same_err) == numbers.sub("", err)
    assert list(Path().iterdir()) == []


def test_headers_and_credentials_reach_the_server(server):
    assert run("cat", server.url, "-q", "-H", "X-Token: a: b", "--user", "me:my:pass")[0] == 0
    sent = server.requests[0].headers
    assert sent["x-token"] == "a: b"
    assert sent["authorization"] == "Basic bWU6bXk6cGFzcw=="


def test_what_get_and_cat_share_is_the_same_and_cat_has_nothing_else_but_two():
    def options(command):
        return {parameter.name: parameter for parameter in program.get_command(None, command).params}

    cat, get = options("cat"), options("get")
    assert set(cat) - set(get) == {"window", "offset"}
    for name in set(cat) & set(get) - {"output", "url"}:
        assert (cat[name].opts, cat[name].help) == (get[name].opts, get[name].help)
    assert len(set(map(id, CAT)) & set(map(id, GET))) == len(set(cat) & set(get)) - 2


def test_the_help_has_an_example_and_says_what_a_terminal_gets():
    out = CliRunner().invoke(program, ["cat", "--help"]).stdout
    assert "| tar x" in out
    assert "-o -" in out


# --- slow readers ----------------------------------------------------------------------------------


def test_a_slow_reader_gets_everything_and_nothing_is_asked_for_beyond_its_window(server):
    window, block = 256 * KIB, 64 * KIB
    child = start("cat", server.url, "-q", "--window", "256K", *SMALL)
    found = bytearray()
    with child:
        while piece := child.stdout.read(5 * KIB + 1):
            found += piece
            # The first request is made before the window is known, for one MiB.
            asked = [request.range[1] for request in server.requests[1:] if request.range]
            ahead = max(asked, default=0) + 1 - len(found)
            assert ahead <= window + PIPE + block + io.DEFAULT_BUFFER_SIZE
    assert child.returncode == 0
    assert same(found)


def test_a_pipe_that_does_not_block_is_waited_for(server):
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    child = start("cat", server.url, "-q", *SMALL, stdout=writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        found = b"".join(iter(lambda: pipe.read(7 * KIB), b""))
    assert child.wait(60) == 0
    assert child.stderr.read() == b""
    child.stderr.close()
    assert same(found)


def test_a_socket_will_do(server):
    ours, theirs = socket.socketpair()
    child = start("cat", server.url, "-q", stdout=theirs)
    theirs.close()
    with ours, ours.makefile("rb") as stream:
        found = stream.read()
    assert ended(child) == (0, b"", "")
    assert same(found)


# --- offsets and digests ---------------------------------------------------------------------------


@pytest.mark.parametrize("offset", ["0", "1", "64K", "1048577", "3145744", "3145745"])
def test_an_offset_skips_bytes_and_does_not_fetch_them(server, offset):
    code, out, _ = run("cat", server.url, "--offset", offset, *SMALL)
    first = 64 * KIB if offset == "64K" else int(offset)
    assert code == 0
    assert same(out, CONTENT[first:])
    assert all(request.range[0] >= first - 64 * KIB for request in server.requests if first < len(CONTENT))


def test_the_right_digest_is_named_as_the_proof(server):
    code, out, err = run("cat", server.url, "--digest", f"sha256:{sha256(CONTENT)}")
    assert code == 0
    assert same(out)
    assert f"verified by its digest (sha256:{sha256(CONTENT)})" in err


def test_a_wrong_digest_ends_in_10_and_says_that_what_was_written_is_wrong(server):
    code, out, err = run("cat", server.url, "--checksum", f"sha256:{sha256(b'')}")
    first, second = err.splitlines()
    assert code == 10
    assert same(out)
    assert first.startswith("largefile: error: ")
    assert f"the {len(CONTENT)} bytes that were written are wrong" in second


# --- terminals -------------------------------------------------------------------------------------

BAR = re.compile("[·░▒▓█]|100%")


class Terminal:
    """A pseudo-terminal whose screen is read as it is written; it changes nothing of what it gets."""

    def __init__(self):
        self.leader, self.follower = os.openpty()
        tty.setraw(self.follower)

    def screen(self):
        """All that was written, until the last descriptor of the command is closed."""
        os.close(self.follower)
        found = b""
        # At the end of the other side reading gives EIO.
        with os.fdopen(self.leader, "rb", buffering=0) as screen, contextlib.suppress(OSError):
            while piece := screen.read(65536):
                found += piece
        return found


@pytest.mark.parametrize("words", [["cat"], ["cat", "-q"]], ids=" ".join)
def test_a_terminal_gets_nothing_that_is_binary(server, words):
    terminal = Terminal()
    child = start(*words, server.url, stdout=terminal.follower)
    assert terminal.screen() == b""
    code, _, err = ended(child)
    assert code == 2
    assert err.count("\n") == 1
    assert err.startswith("largefile: error: standard output is a terminal")
    assert "-o - writes it all the same (see largefile cat --help)" in err


@pytest.mark.parametrize("command", ["cat", "get"])
def test_a_terminal_gets_everything_with_a_minus(server, command):
    terminal = Terminal()
    child = start(command, server.url, "-q", "-o", "-", stdout=terminal.follower)
    assert same(terminal.screen())
    assert ended(child) == (0, b"", "")


def test_a_terminal_gets_text_and_no_bar_between_its_lines(server):
    server.content = text = "größer\tals 1\r\n".encode() * 60_000
    terminal = Terminal()
    child = start("cat", server.url, stdout=terminal.follower, stderr=terminal.follower)
    screen = terminal.screen()
    assert ended(child)[0] == 0
    assert same(screen[: len(text)], text)
    assert not BAR.search(screen.decode())


def test_what_turns_out_to_be_binary_later_is_refused_then(server):
    text = b"plain text\n" * 10_000
    server.content = text + b"\x1b]0;gotcha\x07" + text
    terminal = Terminal()
    child = start("cat", server.url, stdout=terminal.follower)
    screen = terminal.screen()
    code, _, err = ended(child)
    assert code == 2
    assert text.startswith(screen)
    assert len(screen) >= 64 * KIB
    assert f"{len(screen)} bytes were written" in err


def test_the_bar_is_drawn_where_the_content_is_not(server):
    terminal = Terminal()
    child = start("cat", server.url, *SMALL, stderr=terminal.follower)
    threading.Thread(target=lambda: child.stdout.read(), daemon=True).start()
    screen = terminal.screen().decode()
    assert child.wait(60) == 0
    assert "100% 3.0 MiB of 3.0 MiB" in screen
    assert "████" in screen
    assert "strong ETag" in screen
    child.stdout.close()


@given(st.text(st.characters(blacklist_categories=("Cc", "Cs"))), st.sampled_from("\t\n\v\f\r"))
def test_text_is_no_danger_for_a_terminal(text, space):
    for encoding in ("utf-8", "latin-1"):
        assert not is_steering((text + space + text).encode(encoding, "replace"))


@given(st.text(), st.characters(whitelist_categories=("Cc",), blacklist_characters="\t\n\v\f\r"))
def test_any_control_character_is_a_danger(text, danger):
    assert is_steering((text + danger).encode(errors="replace"))


# --- the writing itself ----------------------------------------------------------------------------


@contextlib.contextmanager
def outlet_to(descriptor, monkeypatch, **options):
    """An Outlet on `descriptor`, which it believes to be standard output, and its Control."""
    with os.fdopen(descriptor, "w") as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        control = Control()
        yield Outlet(control, **options), control


@pytest.mark.parametrize("blocking", [True, False])
def test_short_writes_lose_nothing(monkeypatch, blocking):
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writer, blocking)
    found = bytearray()

    def read():
        with os.fdopen(reader, "rb", buffering=0) as pipe:
            while piece := pipe.read(1013):
                found.extend(piece)

    thread = threading.Thread(target=read)
    thread.start()
    with outlet_to(writer, monkeypatch) as (outlet, _):
        outlet.write(memoryview(CONTENT)[:1])
        outlet.write(bytearray(CONTENT[1:300_001]))
    thread.join()
    assert outlet.written == 300_001
    assert same(found, CONTENT[:300_001])


def test_what_another_writer_was_quicker_to_take_is_tried_again(monkeypatch):
    # An eventfd that is one below its most says that it can be written to, and then takes no more than one.
    counter = os.eventfd(0, os.EFD_NONBLOCK)
    os.eventfd_write(counter, 2**64 - 3)
    with outlet_to(counter, monkeypatch) as (outlet, control):
        looks = iter([lambda: None, lambda: os.eventfd_read(counter)])
        monkeypatch.setattr(control, "check", lambda: next(looks)())
        outlet.write((5).to_bytes(8, sys.byteorder))
        assert os.eventfd_read(counter) == 5
        assert next(looks, None) is None


def test_what_is_written_is_given_back_at_once(monkeypatch):
    # A view that stays would keep a place of the ring.
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb"), outlet_to(writer, monkeypatch) as (outlet, _):
        data = bytearray(b"some bytes")
        outlet.write(data)
        data.clear()  # a BufferError while anybody has a view of it
        assert outlet.written == 10


def test_cancelling_ends_a_write_that_waits(monkeypatch):
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb"), outlet_to(writer, monkeypatch) as (outlet, control):
        threading.Thread(
            target=lambda: (until(lambda: outlet.written == PIPE, what="a full pipe"), control.cancel())
        ).start()
        with pytest.raises(CancelledError):
            outlet.write(CONTENT)
        assert outlet.written == PIPE
        assert not outlet.is_writing


def test_a_reader_that_has_gone_is_seen_without_a_write(monkeypatch):
    reader, writer = os.pipe()
    with outlet_to(writer, monkeypatch) as (outlet, _):
        assert not outlet.is_deserted
        os.close(reader)
        assert outlet.is_deserted
        with pytest.raises(ReaderGoneError):
            outlet.write(b"x")
        assert outlet.written == 0


@pytest.mark.parametrize(("size", "stopped"), [(4, False), (5, True), (None, True)])
def test_a_reader_that_has_all_may_go_and_the_digest_is_still_told(monkeypatch, size, stopped):
    reader, writer = os.pipe()
    with outlet_to(writer, monkeypatch) as (outlet, control), Progress(quiet=True) as progress:
        outflow = Outflow("http://example.org/x", outlet, control, {}, progress)
        outflow._size = size
        outlet.write(b"1234")
        os.close(reader)
        outflow._look()
        assert control.cancelled() == stopped


def test_a_file_has_no_reader_that_could_go(monkeypatch):
    with outlet_to(os.open("x", os.O_WRONLY | os.O_CREAT), monkeypatch) as (outlet, _):
        assert not outlet.is_deserted


def test_a_character_that_is_cut_in_two_does_not_slip_through(monkeypatch):
    leader, follower = os.openpty()
    tty.setraw(follower)
    with os.fdopen(leader, "rb"), outlet_to(follower, monkeypatch) as (outlet, _):
        outlet.write("ä\u00e9".encode()[:-1])
        outlet.write(b"\xa9 and on\xc2")
        with pytest.raises(click.UsageError):
            outlet.write(b"\x9b31m")
        assert outlet.written == 12


# --- nobody reads, or can ---------------------------------------------------------------------------


def test_head_ends_it_in_silence(server):
    out, err, code = shell("| head -c 10", "cat", server.url)
    assert (out, err, code) == (CONTENT[:10], "", 0)


def test_a_reader_that_goes_while_nothing_comes_ends_it_at_once(server):
    server.behave = behave = first_mib_then(stall=True)
    child = start("cat", server.url, *SMALL)
    assert same(child.stdout.read(MIB), CONTENT[:MIB])
    assert behave.asked.wait(20)
    gone = time.monotonic()
    child.stdout.close()
    assert child.wait(60) == 0
    assert time.monotonic() - gone < SOON
    assert child.stderr.read() == b""
    child.stderr.close()


def test_a_full_disk_ends_in_14(server):
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        code, _, err = run("cat", server.url, stdout=full)
    assert code == 14
    assert err.splitlines() == [
        "largefile: error: standard output: No space left on device",
        "largefile: 0 bytes were written",
    ]


@pytest.mark.parametrize("redirect", [">&-", "1</dev/null"])
def test_a_stdout_that_is_closed_or_not_for_writing_ends_in_14(server, redirect):
    words = [sys.executable, "-P", "-m", "largefile", "cat", server.url]
    found = subprocess.run(["sh", "-c", f'exec "$@" {redirect}', "sh", *words], stderr=subprocess.PIPE)
    assert found.returncode == 14
    assert found.stderr.startswith(b"largefile: error: standard output")
    assert b"Traceback" not in found.stderr


@pytest.mark.parametrize("how", ["closed", "full"])
def test_messages_that_cannot_be_written_cost_nothing(server, how):
    words = [sys.executable, "-P", "-m", "largefile", "cat", server.url]
    script = f'exec "$@" {"2>&-" if how == "closed" else "2>/dev/full"}'
    found = subprocess.run(["sh", "-c", script, "sh", *words], stdout=subprocess.PIPE, timeout=60)
    assert found.returncode == 0
    assert same(found.stdout)


# --- stopping ---------------------------------------------------------------------------------------

BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


def in_pipe(reader):
    """What a pipe that nobody writes to any more still holds."""
    with os.fdopen(reader, "rb") as pipe:
        return pipe.read()


def filled(reader):
    """Wait until a pipe holds all that it can: the writer waits, or soon will."""
    import struct
    import termios

    def size():
        return struct.unpack("i", fcntl.ioctl(reader, termios.FIONREAD, b"\0" * 4))[0]

    wanted = fcntl.fcntl(reader, fcntl.F_GETPIPE_SZ)
    until(lambda: size() >= wanted, what="a full pipe")


@BOTH
def test_a_signal_ends_it_while_nobody_reads(server, number):
    reader, writer = os.pipe()
    child = start("cat", server.url, stdout=writer)
    os.close(writer)
    filled(reader)
    began = time.monotonic()
    child.send_signal(number)
    code, _, err = ended(child)
    assert time.monotonic() - began < SOON
    assert code == 130
    found = in_pipe(reader)
    assert same(found, CONTENT[: len(found)])
    assert err.splitlines() == [
        "largefile: error: interrupted",
        f"largefile: {len(found)} bytes were written; --offset {len(found)} goes on from there",
    ]


@BOTH
def test_a_signal_ends_it_in_the_middle_of_a_write(server, number):
    # The pipe has room for a part of what is written: the write waits, and nothing interrupts it.
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    child = start("cat", server.url, stdout=writer)
    os.close(writer)
    filled(reader)
    began = time.monotonic()
    child.send_signal(number)
    code, _, err = ended(child)
    assert time.monotonic() - began < SOON
    os.close(reader)
    assert code == 130
    assert err.splitlines() == [
        "largefile: error: interrupted",
        "largefile: 0 bytes were written, or a few more",
    ]


@BOTH
def test_a_signal_ends_it_while_nothing_comes_and_the_rest_can_be_had(server, number):
    server.behave = behave = first_mib_then(stall=True)
    child = start("cat", server.url, *SMALL)
    head = child.stdout.read(MIB)
    assert behave.asked.wait(20)
    began = time.monotonic()
    child.send_signal(number)
    code, more, err = ended(child)
    assert time.monotonic() - began < SOON
    assert (code, more) == (130, b"")
    assert "largefile: error: interrupted\n" in err
    words = re.search(r"--offset (\d+) goes on from there", err)
    assert int(words[1]) == MIB
    server.behave = None
    _, rest, _ = run("cat", server.url, "--offset", words[1])
    assert same(head + rest)


@BOTH
def test_a_signal_ends_it_before_anything_has_come(server, number):
    asked = threading.Event()

    def behave(request):
        asked.set()
        return Behaviour(stall=True)

    server.behave = behave
    child = start("cat", server.url)
    assert asked.wait(20)
    began = time.monotonic()
    child.send_signal(number)
    code, out, err = ended(child)
    assert time.monotonic() - began < SOON
    assert (code, out) == (130, b"")
    assert "largefile: error: interrupted\nlargefile: 0 bytes were written\n" in err


def test_the_deadline_counts_while_nobody_reads(server):
    reader, writer = os.pipe()
    child = start("cat", server.url, "--deadline", "0.3", stdout=writer)
    os.close(writer)
    code, _, err = ended(child)
    os.close(reader)
    assert code == 5
    assert "not finished within its deadline of 0.3 s" in err


# --- failures ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "code"), [(404, 3), (403, 6)])
def test_a_failure_before_the_first_byte_has_its_exit_code(server, status, code):
    server.behave = lambda request: Behaviour(status=status)
    found, out, err = run("cat", server.url)
    assert (found, out) == (code, b"")
    assert err.startswith("largefile: error: ")
    assert "largefile: 0 bytes were written\n" in err


def test_a_failure_after_some_bytes_says_how_many_and_how_to_go_on(server):
    server.behave = lambda request: Behaviour(status=503) if request.number else None
    code, out, err = run("cat", server.url, *SMALL, "--deadline", "2")
    assert code == 5
    assert same(out, CONTENT[:MIB])
    assert f"{MIB} bytes were written; --offset {MIB} goes on from there" in err
    assert "Traceback" not in err


def test_a_failure_that_stays_says_how_many_and_nothing_of_going_on(server):
    server.behave = lambda request: Behaviour(status=404) if request.number else None
    code, out, err = run("cat", server.url, *SMALL)
    assert code == 3
    assert CONTENT.startswith(out)
    assert err.endswith(f"largefile: {len(out)} bytes were written\n")


def test_a_source_that_changes_ends_in_12(server):
    def behave(request):
        if request.number == 1:
            server.content = noise(len(CONTENT), seed=1)

    server.behave = behave
    code, out, err = run("cat", server.url, *SMALL)
    assert code == 12
    assert CONTENT.startswith(out)
    assert err.endswith(f"largefile: {len(out)} bytes were written\n")


def test_without_a_size_no_offset_will_do(server):
    server.behave = lambda request: Behaviour(ranges=False, chunked=True)
    code, out, _ = run("cat", server.url, "--offset", "5")
    assert (code, out) == (8, b"")


@pytest.mark.parametrize(
    "words",
    [
        ["cat"],
        ["cat", "ftp://example.org/x"],
        ["cat", "http://example.org/x", "-x", "0"],
        ["cat", "http://example.org/x", "--block-size", "1"],
        ["cat", "http://example.org/x", "--window", "much"],
        ["cat", "http://example.org/x", "--window", "0"],
        ["cat", "http://example.org/x", "--offset", "-1"],
        ["cat", "http://example.org/x", "--offset", ""],
        ["cat", "http://example.org/x", "--offset", "1", "--digest", f"sha256:{sha256(b'')}"],
        ["cat", "http://example.org/x", "--deadline", "0"],
        ["cat", "http://example.org/x", "--digest", "md99:00"],
        ["cat", "http://example.org/x", "-o", "file"],
        ["cat", "http://example.org/x", "-H", "secret token"],
        ["cat", "http://example.org/x", "--json"],
        ["get", "http://example.org/x", "-o", "-", "-x", "0"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_one_line_and_2_and_nothing_on_stdout(words):
    code, out, err = run(*words)
    assert (code, out) == (2, b"")
    assert err.startswith("largefile: error: ")
    assert err.count("\n") == 1
    assert "secret" not in err


def test_json_and_the_content_can_not_both_have_stdout(server):
    code, out, err = run("get", server.url, "-o", "-", "--json")
    assert code == 2
    assert "--json needs standard output" in err
    assert out.startswith(b"{")
    assert server.requests == []


def test_no_failure_of_cat_is_told_on_stdout():
    assert Report.of(["get", "x", "--json"]).as_json
    assert not Report.of(["cat", "x", "--json"]).as_json


def test_nothing_is_left_in_a_process_that_goes_on(monkeypatch):
    monkeypatch.setattr(stopping.SIGNALS, "_raises", True)
    with nothing_left_behind(), LoopbackServer(CONTENT) as server, Path("x").open("wb") as file:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", file)
            with pytest.raises(SystemExit) as end:
                program(["cat", server.url, "-q"])
    assert end.value.code == 0
    assert same(Path("x").read_bytes())
