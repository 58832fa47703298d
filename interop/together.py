"""All matches at the same time, where most of a scenario is waiting.

A test is asked for once per match and so tells of each by itself; whichever comes first plays the
scenario with all of them, and the others tell what came of theirs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

from interop.matches import Match
from interop.pair import Pair

K = TypeVar("K", bound=Hashable)


def at_once(play: Callable[[K], object], among: Iterable[K]) -> dict[K, BaseException | None]:
    """Call ``play`` with each, all at the same time: what each raised, None for nothing.

    Each has a thread of its own. If we are interrupted meanwhile they are left behind, and do not
    keep the process from ending, as those of an executor do: some scenarios sleep for minutes.
    """
    raised: dict[K, BaseException | None] = {}

    def run(one: K) -> None:
        try:
            play(one)
        except BaseException as error:
            raised[one] = error
        else:
            raised[one] = None

    threads = [threading.Thread(target=run, args=(one,), daemon=True) for one in among]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


class Together:
    """Pairs that all stand at the same time."""

    def __init__(self, pairs: Mapping[Match, Pair]) -> None:
        self._pairs = pairs
        self._outcomes: dict[object, dict[Match, BaseException | None]] = {}

    def play(
        self,
        match: Match,
        scenario: Callable[[Pair], None],
        *,
        among: Sequence[Match] | None = None,
        before: Callable[[Pair], None] = lambda _: None,
        title: object = None,
    ) -> None:
        """The outcome of a scenario for one match.

        It is played ``among`` these matches, or all, and once for each ``title``. Each pair has a
        thread of its own, and what that starts in the background ends with it: PDEATHSIG knows
        threads. ``before`` is for what must outlive the scenario; one pair comes after the other.
        """
        key = (scenario, title)
        if key not in self._outcomes:
            matches = list(self._pairs) if among is None else among
            self._outcomes[key] = self._play(matches, scenario, before)
        error = self._outcomes[key][match]
        if error is not None:
            raise error

    def _play(
        self,
        matches: Sequence[Match],
        scenario: Callable[[Pair], None],
        before: Callable[[Pair], None],
    ) -> dict[Match, BaseException | None]:
        outcomes: dict[Match, BaseException | None] = {}
        for match in matches:
            try:
                before(self._pairs[match])
            except Exception as error:
                outcomes[match] = error
        ready = [match for match in matches if match not in outcomes]
        return outcomes | at_once(lambda match: scenario(self._pairs[match]), ready)
