"""Texts as Postgres keeps them: any text comes back, in the order it had."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobhost.errors import ConfigurationError
from jobhost.queues.postgres.address import address_of
from jobhost.queues.postgres.texts import blobs, numbers, read, stored, words

any_text = st.text(st.characters(categories=["Cs", "Cc", "L", "P"])) | st.text('\0\1\2\3\ud800\udfffa\\"')
sound_text = st.text() | st.text("\0\1\2a")


@given(any_text)
def test_any_text_comes_back(text: str) -> None:
    assert b"\0" not in stored(text)
    assert read(stored(text)) == text


@given(sound_text, sound_text)
def test_the_order_is_that_of_code_points(one: str, other: str) -> None:
    assert (stored(one) < stored(other)) == (one < other)


def test_most_texts_are_kept_as_they_are() -> None:
    assert stored("späße 😀") == "späße 😀".encode()


def test_lists_are_array_literals() -> None:
    assert numbers([1, None, -3, True]) == "{1,NULL,-3,1}"
    assert words(["a", None, 'b"\\', "", "NULL"]) == '{"a",NULL,"b\\"\\\\","","NULL"}'
    assert blobs([b"\0\xff", None, b""]) == '{"\\\\x00ff",NULL,"\\\\x"}'


def test_a_url_is_libpqs_and_a_schema_more() -> None:
    address = address_of("postgresql://u:secret@h:5433/jobs?sslmode=require&schema=mine&connect_timeout=9")
    assert (address.schema, address.channel, str(address.where)) == ("mine", "jobhost_mine", "h:5433/jobs")
    assert "sslmode=require" in address.conninfo
    assert "connect_timeout=9" in address.conninfo
    assert address_of("postgresql://h/jobs").schema == "jobhost"
    assert address.key("flow", "a") != address_of("postgresql://h/jobs").key("flow", "a"), "schemas do not share locks"


@pytest.mark.parametrize("url", ["postgresql://u:secret@h/d?schema=", "postgresql://u:secret@h/d?schema=pg_x"])
def test_a_schema_has_a_plain_name(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"\?schema=jobs") as caught:
        address_of(url)
    assert "secret" not in str(caught.value)


def test_a_url_that_libpq_does_not_read_is_not_quoted() -> None:
    with pytest.raises(ConfigurationError, match="is not a URL of Postgres") as caught:
        address_of("postgresql://u:secret@h/d?nonsense=1")
    assert "secret" not in str(caught.value)
