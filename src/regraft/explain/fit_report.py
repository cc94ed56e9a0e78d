"""The report of a classifier that has just been trained."""

from dataclasses import dataclass
from pathlib import Path

from regraft.engines.compute import Compute
from regraft.explain.explain import explain
from regraft.explain.html_report import render_pages, write_pages
from regraft.explain.subject import subject_of_fit
from regraft.progress import Observer
from regraft.transfer.fit import FitResult


@dataclass(frozen=True)
class FitPages:
    """The pages of a report.

    Attributes:
        pages: HTML by the name of the file.
        advice: how far up the network carries, in words; "" where that was not looked at.
    """

    pages: dict[str, str]
    advice: str

    def write(self, folder: Path) -> Path:
        """Write the pages into `folder`, see `html_report.write_pages`; return the path of the first."""
        return write_pages(self.pages, folder)


def pages_of_fit(trained: FitResult, *, units: int = 0, compute: Compute, observer: Observer | None = None) -> FitPages:
    """Return the report of what `fit` gave.

    Args:
        trained: the classifier with its photos.
        units: to show of each stage.
        compute: where the network runs.
        observer: hears the progress.
    """
    found = explain(
        subject_of_fit(trained),
        units=units,
        device=compute.torch_device,
        batch_size=compute.batch_size,
        seed=trained.record.seed,
        observer=observer or Observer(),
    )
    return FitPages(render_pages(found), "" if found.depth_advice is None else found.depth_advice.advice)
