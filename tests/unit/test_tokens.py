"""A freshness token says one position of one database, and nobody else can make one."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.context.tokens import Commit, own_tokens, read_token, sign_token
from stores.errors import InputError, LimitError

SECRET = b"the secret of this test"
SYSTEM = "7412345678901234567/16384"


def old_token(lsn: int) -> str:
    """As the version made it that knew of no timelines."""
    body = bytes([1]) + lsn.to_bytes(8, "big") + hashlib.sha256(SYSTEM.encode()).digest()[:16]
    mac = hmac.new(SECRET, body, hashlib.sha256).digest()[:16]
    return base64.urlsafe_b64encode(body + mac).rstrip(b"=").decode("ascii")


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**32 - 1))
def test_a_token_gives_back_its_position(lsn: int, timeline: int) -> None:
    token = sign_token(SYSTEM, lsn, SECRET, timeline=timeline)
    assert read_token(token, SYSTEM, SECRET) == Commit(lsn, timeline)


@given(st.integers(0, 2**63 - 1))
def test_a_token_of_the_version_before_is_taken_and_says_no_timeline(lsn: int) -> None:
    assert read_token(old_token(lsn), SYSTEM, SECRET) == Commit(lsn, 0)


@given(st.integers(0, 44), st.integers(1, 255))
def test_a_token_with_any_byte_changed_is_refused(place: int, flip: int) -> None:
    raw = bytearray(base64.urlsafe_b64decode(sign_token(SYSTEM, 5, SECRET)))
    raw[place] ^= flip
    forged = base64.urlsafe_b64encode(bytes(raw)).rstrip(b"=").decode()
    with pytest.raises(InputError):
        read_token(forged, SYSTEM, SECRET)


def test_a_token_of_another_database_or_secret_is_refused() -> None:
    token = sign_token(SYSTEM, 5, SECRET)
    with pytest.raises(InputError, match="another database"):
        read_token(token, "7412345678901234567/16385", SECRET)
    with pytest.raises(InputError, match="not signed by this gateway"):
        read_token(token, SYSTEM, b"another secret altogether")


@given(st.text(max_size=80))
def test_any_other_text_is_refused_with_a_code(text: str) -> None:
    with pytest.raises(InputError) as caught:
        read_token(text, SYSTEM, SECRET)
    assert caught.value.detail_code == "BAD_USER_INPUT"


def test_a_token_is_short_and_fits_a_header() -> None:
    token = sign_token(SYSTEM, 2**63 - 1, SECRET)
    assert len(token) == 60
    assert token.replace("-", "").replace("_", "").isalnum()


def test_of_several_tokens_the_ones_of_this_database_count() -> None:
    mine, newer = (sign_token(SYSTEM, n, SECRET, timeline=1) for n in (5, 9))
    other = sign_token("another/1", 7, b"the secret of another product")
    assert own_tokens(f"{other}, {mine},{newer}", SYSTEM) == [mine, newer]
    assert own_tokens(f"{other},{other}", SYSTEM) == []
    # One alone is read, and refused with what is wrong with it.
    assert own_tokens(other, SYSTEM) == [other]
    assert own_tokens(other, SYSTEM, alone=False) == []
    assert own_tokens(mine, SYSTEM, alone=False) == [mine]
    with pytest.raises(InputError, match="malformed"):
        own_tokens(f"{mine},x", SYSTEM)
    with pytest.raises(LimitError):
        own_tokens(",".join([mine] * 51), SYSTEM)
