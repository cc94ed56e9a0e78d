"""A page that shows the most typical photos of each group, so that people can name the groups."""

from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

from regraft.data.photo_list import PhotoList
from regraft.files import atomic_write, write_failure
from regraft.labelling.groups import PhotoGroups
from regraft.photo_audit.photos import label_photos
from regraft.photo_audit.thumbnails import thumbnails
from regraft.plots.page import page_environment

PAGE = "groups.html"
_TEMPLATE = "groups.html.jinja"
_MOST = 480  # photos on the page, which mail must be able to carry
_TYPICAL, _ODD = 8, 4  # photos of a group: nearest to its centre, and farthest from it


def write_contact_sheet(groups: PhotoGroups, folder: Path) -> Path:
    """Write the page into `folder`, which is made if it is missing, and return its path.

    Raises:
        OutputError: it cannot be written.
    """
    path, text = folder / PAGE, render(groups)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_failure(path, error) from None
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")  # names may be no UTF-8
    return path


def render(groups: PhotoGroups) -> str:
    """Return the page's HTML."""
    share = max(_MOST // (groups.count * (_TYPICAL + _ODD)), 1)  # of a few groups more photos have room
    members = groups.members()
    typical = [own[: _TYPICAL * min(share, 2)] for own in members]
    odd = [own[len(some) :][-_ODD:][::-1] for own, some in zip(members, typical, strict=True)]
    shown = np.concatenate([*typical, *odd]).tolist()
    listed = label_photos(PhotoList.unlabelled(groups.sources), (None,) * len(groups))
    context = {
        "count": len(groups),
        "groups": [
            {"name": f"group-{number}", "count": len(own), "typical": some.tolist(), "odd": others.tolist()}
            for number, (own, some, others) in enumerate(zip(members, typical, odd, strict=True), 1)
        ],
        "pictures": thumbnails(replace(listed, ranges=groups.ranges), shown[:_MOST]),
        "names": {place: str(groups.sources[place]) for place in shown},
        "version": version("regraft"),
    }
    return page_environment("regraft.labelling").get_template(_TEMPLATE).render(**context)
