"""What `download` says that it takes is what it takes."""

from __future__ import annotations

import contextlib
import inspect

import pytest

from largefile.caching import DownloadOptions, start_download
from largefile.engine.options import engine_threads
from largefile.wire.http import HTTPReader


def test_the_typed_options_are_those_of_the_function():
    takes = set(inspect.signature(start_download).parameters) - {"url", "dest", "into"}
    assert set(DownloadOptions.__annotations__) == takes


@pytest.mark.parametrize(("processors", "clear", "encrypted"), [(1, 1, 1), (2, 1, 2), (3, 2, 2), (64, 2, 2)])
def test_a_second_thread_is_for_machines_with_processors_to_spare(monkeypatch, processors, clear, encrypted):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: range(processors), raising=False)
    assert (engine_threads(encrypted=False), engine_threads(encrypted=True)) == (clear, encrypted)
    monkeypatch.delattr("os.sched_getaffinity")
    monkeypatch.setattr("os.cpu_count", lambda: processors)
    assert (engine_threads(encrypted=False), engine_threads(encrypted=True)) == (clear, encrypted)


@pytest.mark.parametrize(
    ("url", "encrypted"), [("HTTPS://example.org/x", True), ("http://https.org/", False)]
)
def test_whether_a_source_is_encrypted_is_known_from_its_url(url, encrypted):
    with contextlib.closing(HTTPReader(url)) as reader:
        assert reader.is_encrypted == encrypted
