"""Reads a node's file, for its helper: the first argument is the path, and a pickled Config or
ConfigError goes to standard output."""

from __future__ import annotations

import pickle
import sys

from wgvx.config import Config, ConfigError, load


def main() -> int:
    answer: Config | ConfigError
    try:
        answer = load(sys.argv[1])
    except ConfigError as error:
        answer = error
    sys.stdout.buffer.write(pickle.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
