"""Keys in wg(8)'s form."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgvx import keys


@given(st.binary(min_size=32, max_size=32))
def test_keys_have_one_spelling(key: bytes) -> None:
    text = keys.encode(key)
    assert keys.decode(text) == key
    # The last two bits of the 43rd character are not part of the key; wg(8) wants them zero.
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = text[:42] + alphabet[alphabet.index(text[42]) | 1] + "="
    assert base64.b64decode(other) == key
    for wrong in (other, text[:-1], text + "=", text + "\n", " " + text, text[:-2] + "==", "é"):
        with pytest.raises(ValueError, match="not a key"):
            keys.decode(wrong)


def test_private_keys_are_clamped_and_differ() -> None:
    made = [keys.generate_private() for _ in range(50)]
    assert len(set(made)) == 50
    for key in made:
        assert key[0] & 7 == 0
        assert key[31] & 0xC0 == 0x40
        assert keys.decode(keys.encode(key)) == key


def test_public_key_of_rfc_7748() -> None:
    # Section 5.2: the base point as scalar, after one iteration.
    assert keys.public_key(bytes([9] + [0] * 31)) == bytes.fromhex(
        "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079"
    )
