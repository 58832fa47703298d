"""`python -m wgvx`: the same as `wgvx`."""

import sys

from wgvx.cli.main import main

sys.exit(main())
