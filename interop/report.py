"""The matrix: what of a run held, as lines of JSON while it runs and as docs/interop.md afterwards.

    python -m interop.report RESULTS.jsonl docs/interop.md     # what "./dev interop" ends with

The document's text is written by hand; what stands between its two markers is written here.
"""

from __future__ import annotations

import json
import platform
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata
from pathlib import Path

from benchmarks.compare.obtain import boringtun, debian_version, first_line, newest_wireguard_go
from interop.kernel.host import has_wireguard
from interop.kernel.packages import kernel_packages
from interop.matches import BORINGTUN, DATAPLANES, FARS, GO, KERNEL, NEWEST_GO, WGVX
from interop.selftests import NETNS_SH, VXLAN

BEGIN, END = "<!-- matrix -->", "<!-- /matrix -->"
HELD, FAILED, NOT_PLAYED = "yes", "**NO**", ""

Result = dict[str, str]
"""module, test, far, dataplane, outcome; far and dataplane empty where a test has none."""


class Results:
    """Writes the outcome of each test as it comes, so that a run which is interrupted keeps what it
    had; a test that ran with many parameters is many results.

    A line of the file is a result, or ``{"versions": {...}}`` of who or what takes part.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fars: set[str] = set()
        path.unlink(missing_ok=True)
        self._write({"versions": versions()})

    def add(self, properties: Iterable[tuple[str, object]], outcome: str) -> None:
        result = {name: str(value) for name, value in properties} | {"outcome": outcome}
        self._write(result)
        far = result["far"]
        # Who has not passed anything yet may not even be there.
        if outcome == "passed" and far in FAR_VERSIONS and far not in self._fars:
            self._fars.add(far)
            self._write({"versions": {far: FAR_VERSIONS[far]()}})

    def _write(self, line: object) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps(line) + "\n")


def read(path: Path) -> tuple[dict[str, str], list[Result]]:
    """The versions and the results that :class:`Results` wrote."""
    versions: dict[str, str] = {}
    results: list[Result] = []
    for line in path.read_text().splitlines():
        told = json.loads(line)
        if "versions" in told:
            versions |= told["versions"]
        else:
            results.append(told)
    return versions, results


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


def versions() -> dict[str, str]:
    """Of wgvx, and of what looks on."""
    return {
        "wgvx": first_line("git", "describe", "--always", "--dirty"),
        "host": f"Linux {platform.release()}, Python {platform.python_version()}",
        "wg": first_line("wg", "--version"),
        "tshark": first_line("tshark", "--version"),
        "scapy": metadata.version("scapy"),
    }


def _cell(outcomes: list[str]) -> str:
    if not outcomes:
        return NOT_PLAYED
    return HELD if set(outcomes) == {"passed"} else FAILED


def _table(head: list[str], rows: Iterable[list[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def _sentence(result: Result) -> str:
    """What a test shows, in the words of its name."""
    return result["test"].removeprefix("test_").replace("_", " ")


def matrix(versions: dict[str, str], results: Sequence[Result]) -> str:
    """The tables, Markdown."""
    played: dict[str, dict[str, dict[tuple[str, str], list[str]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for result in results:
        place = result["far"], result["dataplane"]
        played[result["module"]][_sentence(result)][place].append(result["outcome"])
    known = (WGVX, *FAR_VERSIONS)
    names = sorted(versions, key=lambda name: known.index(name) if name in known else len(known))
    lines = _table(["", ""], ([name, versions[name]] for name in names))
    lines += ["", f"{len(results)} tests, parameters counted.", ""]
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
    versions, played = read(Path(results))
    page = Path(document)
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n\n{matrix(versions, played)}\n{END}{after}")
    failed = [result for result in played if result["outcome"] != "passed"]
    print(f"{document}: {len(played)} results, {len(failed)} of them failed")


if __name__ == "__main__":
    main(*sys.argv[1:])
