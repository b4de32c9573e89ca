"""Whatever a URL says, the name stays a name: in its folder, valid, short enough."""

import unicodedata
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from largefile.rules.naming import basename_from_url

hostile = st.text(st.sampled_from("./\\\0\n: con%2e5C~é\u202e\U0001f600"), max_size=40) | st.text(
    max_size=400
)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://h/a/model.bin", "model.bin"),
        ("https://h/model.bin?x=/y#/z", "model.bin"),
        ("https://h/a%20b.bin", "a b.bin"),
        ("https://h/%C3%A9t%C3%A9.bin", "été.bin"),
        ("https://h/o/folder%2Ffile.bin?alt=media", "file.bin"),
        ("https://h/..%5C..%5Cfile.bin", "file.bin"),
        ("https://h/.bashrc", "bashrc"),
        ("https://h/a%00b%0Ac.bin", "abc.bin"),
        ("https://h/gpj%E2%80%AEexe.bin", "gpjexe.bin"),
        ("https://h/a:b%3Fc.bin", "a_b_c.bin"),
        ("https://h/trailing.%20.", "trailing"),
        ("https://h/CON", "_CON"),
        ("https://h/nul.txt", "_nul.txt"),
        ("https://h/com1.tar.gz", "_com1.tar.gz"),
        ("https://h/console.log", "console.log"),
        ("https://h/a%FFb", "a\ufffdb"),
        ("model.bin", "model.bin"),
    ],
)
def test_a_name_is_the_cleaned_last_part_of_the_path(url, name):
    assert basename_from_url(url) == name


@pytest.mark.parametrize(
    "url", ["https://h", "https://h/", "https://h/a/", "https://h/..", "https://h/%2e%2e%2f", ""]
)
def test_a_url_without_a_name_gives_the_fallback(url):
    assert basename_from_url(url) == "download"
    assert basename_from_url(url, "other") == "other"


@given(hostile)
@example("CON" + 300 * " " + "x")
@example("%2e%2e/%2e%2e")
@example("con." + 300 * "x")
@example("..\\..\\x")
def test_a_name_never_leaves_its_folder_nor_breaks_it(path):
    for url in (path, "https://h/" + path, "https://h/" + quote(path, safe="")):
        name = basename_from_url(url)
        assert name not in ("", ".", "..")
        assert not set(name) & set('/\\\0<>:"|?*')
        assert name[0] not in ". "
        assert name[-1] not in ". "
        assert not any(unicodedata.category(c) in ("Cc", "Cf", "Cs") for c in name)
        assert name.partition(".")[0].strip().lower() not in ("con", "prn", "aux", "nul", "com1", "lpt9")
        assert len((name + ".part.idx").encode()) <= 255


@given(hostile)
def test_a_name_that_was_cleaned_once_stays_as_it_is(path):
    name = basename_from_url("https://h/" + quote(path, safe=""))
    assert basename_from_url("https://h/" + quote(name, safe="")) == name


@given(st.integers(1, 4), st.integers(240, 260))
def test_a_long_name_is_cut_at_a_whole_character(width, length):
    character = "aé€\U0001f600"[width - 1]
    name = basename_from_url("https://h/" + quote(length * character))
    assert name == min(246 // width, length) * character
