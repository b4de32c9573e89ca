"""What is said and drawn of a download is true: nothing is called full before it is."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from largefile.core.bitmap import Bitmap
from largefile.engine.blockmap import block_map
from largefile.livebar import LiveBar, filled
from largefile.progress import SHADES, as_callback, human_seconds, line, plain_lines, shade
from largefile.stats import DownloadStats

SHARES = st.floats(0, 1)


def at(done, size=100, phase="downloading", **more):
    return DownloadStats(cached_or_streamed_bytes=done, download_size=size, phase=phase, **more)


# --- the argument ----------------------------------------------------------------------------------


@pytest.mark.parametrize("nothing", [None, False])
def test_no_progress_is_no_callback(nothing):
    assert as_callback(nothing) is None


def test_a_callable_is_used_as_it_is():
    def tell(stats):
        return None

    assert as_callback(tell) is tell


@pytest.mark.parametrize("wrong", [3, "yes", object()])
def test_anything_else_is_a_type_error(wrong):
    with pytest.raises(TypeError, match="progress is"):
        as_callback(wrong)


@given(st.lists(st.integers(0, 1000)))
def test_update_gets_what_was_added_and_never_less_than_nothing(counts):
    class Bar:
        added: list[int] = []  # noqa: RUF012

        def update(self, n):
            self.added.append(n)

    bar = Bar()
    bar.added = []
    tell = as_callback(bar)
    for count in counts:
        tell(at(count, size=1000))
    assert all(n > 0 for n in bar.added)
    assert sum(bar.added) == max(counts, default=0)


def test_true_draws_on_a_terminal_and_writes_lines_elsewhere():
    assert not isinstance(as_callback(True, io.StringIO()), LiveBar)

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    assert isinstance(as_callback(True, Terminal()), LiveBar)


# --- lines -----------------------------------------------------------------------------------------


def test_lines_come_at_intervals_and_at_each_change_of_phase():
    out, now = io.StringIO(), [0.0]
    tell = plain_lines(out, interval=2.0, clock=lambda: now[0])
    for second, phase in [(0, "probing"), (1, "probing"), (1.5, "downloading"), (2, "downloading")]:
        now[0] = float(second)
        tell(at(1, phase=phase))
    now[0] = 4.0
    tell(at(2))
    tell(at(100, phase="done"))
    phases = [text.split()[0] for text in out.getvalue().splitlines()]
    assert phases == ["probing", "downloading", "downloading", "done"]


def test_a_phase_about_which_nothing_is_known_makes_no_line():
    out = io.StringIO()
    plain_lines(out)(DownloadStats(phase="verifying"))
    assert out.getvalue() == ""


@given(st.integers(1, 2**62), st.data())
def test_a_hundred_percent_is_said_only_of_all_of_it(size, data):
    done = data.draw(st.integers(0, size) | st.integers(max(0, size - 3), size))
    assert ("100%" in line(at(done, size))) == (done == size)


@given(st.integers(0, 10**7))
def test_durations_read_back_as_their_seconds(seconds):
    value = 0
    for part in human_seconds(seconds).split(":"):
        value = value * 60 + int(part)
    assert value == seconds


# --- the map ---------------------------------------------------------------------------------------


@given(st.lists(SHARES), st.booleans())
def test_only_empty_cells_look_empty_and_only_full_cells_look_full(shares, ascii_only):
    text = shade(shares, ascii_only=ascii_only)
    empty, full = (".", "#") if ascii_only else (SHADES[0], SHADES[-1])
    assert len(text) == len(shares)
    for mark, share in zip(text, shares, strict=True):
        assert (mark == empty) == (share == 0)
        assert (mark == full) == (share == 1)


@given(SHARES, SHARES)
def test_a_fuller_cell_never_looks_emptier(one, other):
    less, more = sorted([one, other])
    assert SHADES.index(shade([less])) <= SHADES.index(shade([more]))


@given(st.integers(0, 200), st.integers(1, 90), st.data())
def test_the_map_counts_each_block_once_where_there_is_a_cell_for_each(blocks, cells, data):
    on = data.draw(st.sets(st.integers(0, blocks - 1))) if blocks else set()
    bits = Bitmap(blocks)
    for block in on:
        bits.set(block)
    shares = block_map(bits, cells)
    assert len(shares) == cells
    if not blocks:
        assert shares == [1.0] * cells
    elif cells <= blocks:
        widths = [(cell + 1) * blocks // cells - cell * blocks // cells for cell in range(cells)]
        assert round(sum(map(float.__mul__, shares, map(float, widths)))) == len(on)
    else:
        assert shares == [float(cell * blocks // cells in on) for cell in range(cells)]


@given(SHARES, st.integers(1, 100))
def test_without_a_map_the_cells_fill_from_the_left_to_the_share(fraction, cells):
    shares = filled(fraction, cells)
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(fraction * cells)


# --- the bar ---------------------------------------------------------------------------------------


def drawn_on_a_terminal(*reports, block_map=None):
    """What a terminal gets, read back from the other end of a real one."""
    leader, follower = os.openpty()
    with os.fdopen(leader, "rb", buffering=0) as screen, os.fdopen(follower, "w", encoding="utf-8") as out:
        bar = LiveBar(out)
        if block_map is not None:
            bar.watch(block_map)
        for stats in reports:
            bar(stats)
        bar.close()
        bar(at(50))  # a late report draws nothing
        bar.close()
        out.write("<end>")
        out.flush()
        text = b""
        while b"<end>" not in text:  # a terminal may hand it over in pieces
            text += screen.read(1 << 16)
        return text.decode()


def test_the_bar_draws_numbers_and_the_map_and_gives_the_cursor_back():
    text = drawn_on_a_terminal(
        at(25, connections=3, rate=5.0), at(100, phase="done"), block_map=lambda cells: [0.5, 1.0]
    )
    assert "downloading  25%" in text
    assert "3 connections" in text
    assert "0:15 left" in text
    assert "done 100%" in text
    assert "▒" in text
    assert "█" in text
    assert "50%" not in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1


def test_nothing_is_drawn_before_the_first_report():
    out = io.StringIO()
    LiveBar(out).close()
    assert out.getvalue() == ""


def test_words_and_lines_need_no_rich():
    code = "import sys, largefile.progress, largefile.caching; sys.exit('rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
