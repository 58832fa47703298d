"""The matrix: what of a run held, as JSON while it runs and as docs/interop.md afterwards.

    python -m interop.report RESULTS.json docs/interop.md     # what "./dev interop" ends with

The document's text is written by hand; what stands between its two markers is written here.
"""

from __future__ import annotations

import json
import platform
import sys
from collections import defaultdict
from collections.abc import Callable, Container, Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.compare.obtain import boringtun, debian_version, first_line, newest_wireguard_go
from interop.kernel.host import has_wireguard
from interop.kernel.packages import kernel_packages
from interop.matches import BORINGTUN, DATAPLANES, FARS, GO, KERNEL, NEWEST_GO
from interop.selftests import NETNS_SH, VXLAN

BEGIN, END = "<!-- matrix -->", "<!-- /matrix -->"
HELD, FAILED, NOT_PLAYED = "yes", "**NO**", ""

Result = dict[str, str]
"""module, test, far, dataplane, outcome; far and dataplane empty where a test has none."""


class Results:
    """Collects the outcome of each test; a test that ran with many parameters is many results."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._results: list[Result] = []

    def add(self, properties: Iterable[tuple[str, object]], outcome: str) -> None:
        told = {name: str(value) for name, value in properties}
        self._results.append(told | {"outcome": outcome})

    def write(self) -> None:
        fars = {result["far"] for result in self._results}
        text = json.dumps({"versions": versions(fars), "results": self._results}, indent=1)
        self._path.write_text(text + "\n")


def _kernel() -> str:
    if has_wireguard():
        return f"Linux {platform.release()}, this host's"
    return f"Linux in QEMU: {kernel_packages()[0]}"


FAR_VERSIONS: dict[str, Callable[[], str]] = {
    KERNEL: _kernel,
    GO: lambda: debian_version("wireguard-go"),
    NEWEST_GO: lambda: newest_wireguard_go()[1],
    BORINGTUN: lambda: boringtun()[1],
}


def versions(fars: Container[str]) -> dict[str, str]:
    """Of those who took part, and of what looked on."""
    found = {"wgvx": first_line("git", "describe", "--always", "--dirty")}
    found |= {far: version() for far, version in FAR_VERSIONS.items() if far in fars}
    found["host"] = f"Linux {platform.release()}, Python {platform.python_version()}"
    found["wg"] = first_line("wg", "--version")
    found["tshark"] = first_line("tshark", "--version")
    found["scapy"] = metadata.version("scapy")
    return found


def _cell(outcomes: list[str]) -> str:
    if not outcomes:
        return NOT_PLAYED
    return HELD if set(outcomes) == {"passed"} else FAILED


def _table(head: list[str], rows: Iterable[list[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def _sentence(result: Result) -> str:
    """What a test shows, in the words of its name."""
    return result["test"].removeprefix("test_").replace("_", " ")


def matrix(data: dict[str, Any]) -> str:
    """The tables, Markdown."""
    played: dict[str, dict[str, dict[tuple[str, str], list[str]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for result in data["results"]:
        place = result["far"], result["dataplane"]
        played[result["module"]][_sentence(result)][place].append(result["outcome"])
    lines = _table(["", ""], ([name, value] for name, value in data["versions"].items()))
    lines += ["", f"{len(data['results'])} tests, parameters counted.", ""]
    columns = [(far, plane) for far in (*FARS, "") for plane in (*DATAPLANES, "")]
    for module, tests in sorted(played.items()):
        used = [c for c in columns if any(c in outcomes for outcomes in tests.values())]
        head = ["", *(", ".join(filter(None, column)) or "-" for column in used)]
        rows = (
            [sentence, *(_cell(outcomes.get(column, [])) for column in used)]
            for sentence, outcomes in tests.items()
        )
        lines += [f"### {module}", "", *_table(head, rows), ""]
    for title, cases in (("netns.sh", NETNS_SH), ("the VXLAN selftests", VXLAN)):
        lines += [f"### The cases of {title}", ""]
        lines += [*_table(["", "played by"], map(list, cases.items())), ""]
    return "\n".join(lines)


def main(results: str, document: str) -> None:
    """Put the matrix of a run into a document, between its markers."""
    data = json.loads(Path(results).read_text())
    page = Path(document)
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n\n{matrix(data)}\n{END}{after}")
    failed = [r for r in data["results"] if r["outcome"] != "passed"]
    print(f"{document}: {len(data['results'])} results, {len(failed)} of them failed")


if __name__ == "__main__":
    main(*sys.argv[1:])
