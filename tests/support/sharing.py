"""How several processes share the tests (pytest-xdist, ``pytest -n``)."""

from __future__ import annotations

from xdist.scheduler.loadscope import LoadScopeScheduling

APART = (
    "interop/test_behaviour.py",
    "interop/test_contact.py::test_first_contact",
    "interop/test_netns_",
    "tests/netns/",
)
"""What tests begin with that take long and share no fixture, so that each may run by itself."""


class Scheduling(LoadScopeScheduling):  # type: ignore[misc] # it has no annotations
    """Whoever has nothing left to do gets the next file, as the tests of a file share fixtures.

    With ``--no-loadscope-reorder`` files come in the order of collection.
    """

    def _split_scope(self, nodeid: str) -> str:
        return nodeid if nodeid.startswith(APART) else nodeid.partition("::")[0]
