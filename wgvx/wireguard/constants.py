"""The numbers of the protocol, and our own.

Times are nanoseconds, as every ``now`` in the core is.
"""

from __future__ import annotations

from typing import Final

SECOND: Final = 1_000_000_000
MILLISECOND: Final = 1_000_000

# --- Specification constants (WireGuard paper, section 6.1) ---------------------------------

REKEY_AFTER_MESSAGES: Final = 2**60
REJECT_AFTER_MESSAGES: Final = 2**64 - 2**13 - 1
REKEY_AFTER_TIME: Final = 120 * SECOND
REJECT_AFTER_TIME: Final = 180 * SECOND
REKEY_ATTEMPT_TIME: Final = 90 * SECOND
REKEY_TIMEOUT: Final = 5 * SECOND
KEEPALIVE_TIMEOUT: Final = 10 * SECOND

CONSTRUCTION: Final = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
IDENTIFIER: Final = b"WireGuard v1 zx2c4 Jason@zx2c4.com"
LABEL_MAC1: Final = b"mac1----"
LABEL_COOKIE: Final = b"cookie--"

COOKIE_SECRET_LIFETIME: Final = 120 * SECOND
"""A responder draws a new cookie secret after this long (section 5.4.7: every two minutes)."""

# --- Implementation constants (the kernel's, where the paper leaves them open) --------------

REKEY_TIMEOUT_JITTER: Final = SECOND // 3
MAX_HANDSHAKE_ATTEMPTS: Final = REKEY_ATTEMPT_TIME // REKEY_TIMEOUT
"""Retries are given up when more than this many were sent: 20 initiations in all."""

REKEY_ON_RECEIVE_AFTER: Final = REJECT_AFTER_TIME - KEEPALIVE_TIMEOUT - REKEY_TIMEOUT
NEW_HANDSHAKE_AFTER: Final = KEEPALIVE_TIMEOUT + REKEY_TIMEOUT
ZERO_KEYS_AFTER: Final = 3 * REJECT_AFTER_TIME

COOKIE_LATENCY: Final = 5 * SECOND
"""An initiator stops trusting a cookie this long before its secret can have been replaced."""

INITIATION_INTERVAL: Final = SECOND // 50
"""At most 50 initiations a second are accepted from one peer."""

REPLAY_WINDOW: Final = 8128
MAX_STAGED_PACKETS: Final = 128
HANDSHAKE_QUEUE_LENGTH: Final = 4096
UNDER_LOAD_LENGTH: Final = HANDSHAKE_QUEUE_LENGTH // 8
UNDER_LOAD_LINGER: Final = SECOND

HANDSHAKES_PER_SECOND: Final = 20
HANDSHAKES_BURST: Final = 5
LIMITER_SOURCES: Final = 65536

SILENT_AFTER: Final = 3
"""Unanswered initiations after which people are told: about 15 seconds."""
NEWS_KEPT: Final = 1024

PADDING_MULTIPLE: Final = 16
HANDSHAKE_TOS: Final = 0x88
"""DSCP AF41 for handshake messages, as the kernel sends them."""
