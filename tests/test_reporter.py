"""Progress is told, the last of it always, and nothing that a callback does touches the download."""

from __future__ import annotations

import threading

import pytest
from disk_helpers import noise

import largefile
from largefile.engine.reporter import Reporter
from largefile.stats import DownloadStats
from largefile.testing.server import LoopbackServer

CONTENT = noise(1 << 18)


@pytest.mark.parametrize("raised", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit])
def test_what_a_callback_raises_does_not_touch_the_download(tmp_path, raised):
    def broken(stats):
        raise raised

    with LoopbackServer(CONTENT) as server:
        status = largefile.download(server.url, tmp_path / "x", progress=broken, proxy="")
    assert status.complete
    assert (tmp_path / "x").read_bytes() == CONTENT


def test_a_callback_that_hangs_delays_only_itself():
    entered, release = threading.Event(), threading.Event()

    def hang(stats):
        entered.set()
        release.wait(30)

    reporter = Reporter(lambda: DownloadStats(), hang)
    assert entered.wait(10)
    reporter.close(timeout=0.05)  # returns, though the callback has not
    assert not release.is_set()
    release.set()
    reporter.close()


def test_the_last_report_is_of_the_end(tmp_path):
    seen = []
    with LoopbackServer(CONTENT) as server:
        largefile.download(server.url, tmp_path / "x", progress=seen.append, proxy="")
    assert seen[-1].cached_or_streamed_bytes == len(CONTENT)
    assert seen[-1].phase == "done"


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        ("rate", "10M", TypeError),
        ("rate", True, TypeError),
        ("rate", 0, ValueError),
        ("concurrency", True, ValueError),
        ("concurrency", "many", ValueError),
        ("tries", 2.5, ValueError),
        ("timeout", "5", ValueError),
        ("deadline", -1, ValueError),
    ],
)
def test_options_of_the_wrong_kind_are_refused_before_anything_is_made(tmp_path, option, value, error):
    with pytest.raises(error, match=option if option != "rate" or error is TypeError else "0"):
        largefile.download("http://127.0.0.1:9/x", tmp_path / "x", **{option: value})
    assert list(tmp_path.iterdir()) == []
