"""What goes into a request's head can be sent, and what can not is named and never repeated."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from largefile.wire.fields import check_fields

VISIBLE = st.characters(min_codepoint=0x20, max_codepoint=0x7E)
ANY = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]))


@given(st.dictionaries(st.from_regex(r"X-[a-z]{1,8}", fullmatch=True), st.text(VISIBLE)))
def test_ascii_values_are_kept_as_they_are(headers):
    assert check_fields(headers, None) == tuple(headers.items())


@given(ANY, ANY.filter(lambda text: not text.isascii()), ANY)
def test_a_value_beyond_ascii_is_a_value_error_that_names_the_field(before, odd, after):
    with pytest.raises(ValueError, match=r"the value of header X-Key .* not ASCII") as caught:
        check_fields({"X-Key": before + odd + after}, None)
    assert not isinstance(caught.value, UnicodeError)


def test_an_authorization_beyond_ascii_is_not_repeated_in_the_message():
    with pytest.raises(ValueError, match="header Authorization") as caught:
        check_fields(None, "Bearer s\xe9cret")
    assert "cret" not in str(caught.value)


@given(ANY.filter(lambda text: ":" not in text), ANY)
def test_any_user_and_password_come_back_out_of_the_field(user, password):
    ((name, value),) = check_fields(None, (user, password))
    kind, _, token = value.partition(" ")
    assert (name, kind) == ("Authorization", "Basic")
    assert tuple(base64.b64decode(token).decode().split(":", 1)) == (user, password)


@pytest.mark.parametrize("user", ["me:secret", ":", "me:"])
def test_a_colon_in_the_user_name_is_a_value_error(user):
    with pytest.raises(ValueError, match="user name of auth has a colon") as caught:
        check_fields(None, (user, "secret"))
    assert "secret" not in str(caught.value)
