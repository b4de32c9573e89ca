"""Every example in the documentation of the code runs and gives what it says."""

from __future__ import annotations

import doctest
import importlib
import inspect
from pathlib import Path

import pytest

import largefile

SOURCE = Path(__file__).parent.parent / "largefile"


def names():
    for path in sorted([*SOURCE.rglob("*.py"), *SOURCE.rglob("*.pyx")]):
        parts = path.relative_to(SOURCE.parent).with_suffix("").parts
        if parts[-1] != "__main__":
            yield ".".join(parts).removesuffix(".__init__")


def documented(module):
    """(name, docstring) of the module and of all that it defines; also of compiled classes."""
    yield module.__name__, module.__doc__ or ""
    for name, value in vars(module).items():
        if getattr(value, "__module__", None) != module.__name__:
            continue
        yield f"{module.__name__}.{name}", inspect.getdoc(value) or ""
        if inspect.isclass(value):
            for member, inner in vars(value).items():
                yield f"{module.__name__}.{name}.{member}", inspect.getdoc(inner) or ""


@pytest.mark.parametrize("name", list(names()))
def test_the_examples_of_a_module_are_true(name):
    module = importlib.import_module(name)
    parser, runner = doctest.DocTestParser(), doctest.DocTestRunner(verbose=False)
    for where, text in documented(module):
        if ">>>" in text:
            runner.run(parser.get_doctest(text, dict(vars(module)), where, where, 0))
    assert runner.summarize(verbose=False).failed == 0


MAIN = ["download", "CachingDownloader", "LocalDownloadCache", "ByteRanges", "Backoff"]


@pytest.mark.parametrize("name", MAIN)
def test_the_main_names_have_an_example(name):
    assert ">>>" in (inspect.getdoc(getattr(largefile, name)) or "")
