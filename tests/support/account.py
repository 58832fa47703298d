"""The account that a test run by root uses where no privilege may be at work."""

from __future__ import annotations

import os

UID = 30_000 + os.getpid() % 30_000
"""Nobody has it: wgvx may not need an entry in /etc/passwd, and Debian gives nobody 30000 to 59999.
Each process that runs tests has another one, so that their users do not meet."""
