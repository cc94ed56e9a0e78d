"""Print the tables of docs/speed.md from what the last run wrote: `python -m benchmarks.summary`."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks import features, growth, heads, job, startup
from benchmarks.__main__ import RESULTS
from benchmarks.record import shown


class _Found:
    """The results of one benchmark."""

    def __init__(self, name: str) -> None:
        self.told: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))

    def median(self, of: str, by: str, kind: str = "measurements") -> float | None:
        """Return the median of what was measured or compared under these names, None where it was not."""
        named = (one["median"] for one in self.told[kind] if (one["of"], one["by"]) == (of, by))
        return next(named, None)

    def text(self, of: str, by: str, kind: str = "measurements") -> str:
        """Return the median for a table."""
        value = self.median(of, by, kind)
        return "" if value is None else shown(value)


def _features() -> Iterator[str]:
    found = _Found("features")
    yield "| network, images/s | timm loop | torchvision loop | regraft | times the timm loop | share of the bound |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for network in features.LOADS:
        speeds = [found.text(network, by) for by in (features.PLAIN, features.TORCHVISION, features.REGRAFT)]
        times = found.text(network, f"{features.REGRAFT} against {features.PLAIN}", "ratios")
        bound = found.median(network, f"{features.REGRAFT} against {features.BOUND}", "ratios")
        yield f"| {' | '.join([network, *speeds, times])} | {'' if bound is None else f'{bound:.0%}'} |"


def _job() -> Iterator[str]:
    found = _Found("job")
    yield "| the whole job, 1,000 photos | seconds from the shell | accuracy on the same 200 photos |"
    yield "| --- | --- | --- |"
    for tool in (job.FIRST, job.NEW, job.REFIT, job.BY_HAND, job.FASTAI, job.AUGMENTED, job.KERAS):
        accuracy = found.median(job.SAME, tool)
        told = "" if accuracy is None else f"{accuracy:.1%}"
        yield f"| {tool} | {found.text(f'{job.ALL}, {job.WALL}', tool)} | {told} |"


def _growth() -> Iterator[str]:
    found = _Found("growth")
    yield "| photos | seconds | peak memory, MB |"
    yield "| --- | --- | --- |"
    for count in growth.COUNTS:
        of = f"{count:,} photos"
        yield f"| {count:,} | {found.text(of, growth.TIME)} | {found.text(of, growth.MEMORY)} |"


def _heads() -> Iterator[str]:
    found = _Found("heads")
    yield "| the last layer: photos x features | seconds | memory taken, MB | accuracy of the made-up data |"
    yield "| --- | --- | --- | --- |"
    for of in (heads.case_of(*case) for case in heads.CASES):
        accuracy = found.median(of, heads.ACCURACY)
        told = "" if accuracy is None else f"{accuracy:.1%}"
        yield f"| {of} | {found.text(of, heads.TIME)} | {found.text(of, heads.MEMORY)} | {told} |"


def _startup() -> Iterator[str]:
    found = _Found("startup")
    yield "| from the shell | seconds | peak memory, MB |"
    yield "| --- | --- | --- |"
    for command in (startup.HELP, startup.FIRST, startup.READY, startup.AGAIN, startup.REFIT):
        yield f"| {command} | {found.text(startup.SHELL, command)} | {found.text(startup.MEMORY, command)} |"


def main() -> None:
    """Print the tables of the benchmarks that were run."""
    tables: tuple[Callable[[], Iterator[str]], ...] = (_features, _job, _heads, _growth, _startup)
    for table in tables:
        try:
            print("\n".join(table()), end="\n\n")
        except FileNotFoundError as error:
            print(f"not run yet: {error.filename}\n")


if __name__ == "__main__":
    main()
