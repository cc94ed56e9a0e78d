"""Charts: SVG that fits any page, and shapes that are where the values say."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from regraft.evaluation.figures import ReliabilityBin
from regraft.plots.curves import COLOURS
from regraft.plots.svg import bar_chart, curve_chart, net_benefit_chart, reliability_chart, trade_off_chart

SVG, XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"

DEPTH = {
    "pretrained": [(0, 0.5, (0.4, 0.6)), (1, 0.8, (0.7, 0.9)), (2, 0.7, (0.6, 0.8))],
    "random weights": [(0, 0.4, (0.3, 0.5)), (1, 0.5, None), (2, 0.5, (0.4, 0.6))],
}
STAGES = ["features.0", "blocks.1 & <co>", "layer_3"]
BINS = [
    ReliabilityBin(n=8, confidence=0.3, accuracy=0.25, interval=(0.1, 0.5)),
    ReliabilityBin(n=2, confidence=0.6, accuracy=0.5, interval=None),
    ReliabilityBin(n=40, confidence=0.9, accuracy=0.95, interval=(0.85, 0.99)),
]
CHARTS: dict[str, tuple[Callable[[], str], list[str]]] = {
    "depth": (
        lambda: curve_chart(DEPTH, x_label="after stage", y_label="accuracy, %", names=STAGES),
        [*DEPTH, *STAGES, "after stage", "accuracy, %"],
    ),
    "one": (lambda: curve_chart({"alone": DEPTH["pretrained"]}, x_label="x", y_label="y"), ["x", "y"]),
    "nothing known": (
        lambda: curve_chart({"a": [(0, 0.5, None)], "b": [(1, 0.25, None)]}, x_label="x", y_label="y"),
        ["a", "b", "x", "y"],
    ),
    "sizes": (
        lambda: curve_chart(
            {"last layer": [(5, 0.6, (0.5, 0.7)), (50, 0.7, (0.6, 0.8)), (1234, 0.9, (0.8, 1.0))]},
            x_label="photos",
            y_label="accuracy",
            logarithmic=True,
        ),
        ["photos", "accuracy", "5", "50", "1,234"],
    ),
    "reliability": (
        lambda: reliability_chart(BINS),
        ["perfect calibration", "photos (area: how many)", "probability of the answer", "accuracy"],
    ),
    "one bin": (lambda: reliability_chart(BINS[1:2]), ["perfect calibration"]),
    "trade-offs": (
        lambda: trade_off_chart([(0, 0.2, 0.1, 0.4), (1, 1, 0.9, 1)], x_label="x", y_label="y", guess=((0, 0), (1, 1))),
        ["x", "y"],
    ),
    "net benefit": (
        lambda: net_benefit_chart([(0.1, 0.2, 0.1, 0.3), (0.5, 0.1, 0, 0.2)], [0.2, -0.5]),
        ["acting on nobody", "acting on everybody", "acting on its alarms", "net benefit per 100 photos"],
    ),
    "bars": (
        lambda: bar_chart({"conv1": 0.0, "layer1": 0.02, "layer<2>": 0.5}, x_label="change & more"),
        ["conv1", "layer1", "layer<2>", "change & more"],
    ),
    "one bar": (lambda: bar_chart({"conv1": 0.0}, x_label="change"), ["conv1", "change"]),
}


@pytest.fixture(scope="module", params=CHARTS)
def chart(request: pytest.FixtureRequest) -> tuple[str, list[str]]:
    draw, names = CHARTS[request.param]
    return draw(), names


def test_a_chart_is_an_svg_that_adapts_to_its_page(chart: tuple[str, list[str]]) -> None:
    text, names = chart
    root = ElementTree.fromstring(text)
    assert root.tag == f"{SVG}svg"
    assert "width" not in root.attrib
    assert "height" not in root.attrib
    x, y, width, height = (float(value) for value in root.attrib["viewBox"].split())
    assert (x, y) == (0, 0)
    assert width > 0
    assert height > 0
    assert '<g id="' not in text
    assert all("id" not in group.attrib for group in root.iter(f"{SVG}g"))
    assert "currentColor" in text
    assert "#123456" not in text
    assert "font-family" not in text
    assert re.search(r"font: ", text) is None
    for absent in ("style", "script", "metadata"):
        assert not list(root.iter(f"{SVG}{absent}"))
    texts = ["".join(element.itertext()).strip() for element in root.iter(f"{SVG}text")]
    assert set(names) <= set(texts)


def test_text_has_the_pages_colour(chart: tuple[str, list[str]]) -> None:
    for element in ElementTree.fromstring(chart[0]).iter(f"{SVG}text"):
        assert "currentColor" in element.attrib["style"], "".join(element.itertext())


def by_id(text: str) -> dict[str, str]:
    root = ElementTree.fromstring(text)
    return {e.attrib["id"]: ElementTree.tostring(e).decode() for e in root.iter() if "id" in e.attrib}


def references(text: str) -> Iterator[str]:
    yield from re.findall(r"url\(#([^)]*)\)", text)
    yield from re.findall(r'href="#([^"]*)"', text)


def test_charts_on_one_page_do_not_interfere() -> None:
    """What has the same id in two charts is the same; and every chart holds what it refers to."""
    page: dict[str, str] = {}
    for draw, _ in CHARTS.values():
        text = draw()
        own = by_id(text)
        assert set(references(text)) <= set(own)
        assert len(own) >= 1
        for name, element in own.items():
            assert page.setdefault(name, element) == element


@pytest.mark.slow
def test_a_chart_is_the_same_every_time() -> None:
    for draw, _ in CHARTS.values():
        assert draw() == draw()


def shapes(text: str, colour: str) -> list[ElementTree.Element]:
    """Return the paths of `colour` that are drawn and not only defined."""
    root = ElementTree.fromstring(text)
    defined = {id(path) for defs in root.iter(f"{SVG}defs") for path in defs.iter()}
    return [
        path for path in root.iter(f"{SVG}path") if colour in path.attrib.get("style", "") and id(path) not in defined
    ]


def test_no_line_where_no_interval_is_known() -> None:
    every = [replace(one, interval=(0.1, 0.9)) for one in BINS]
    lines = {
        known: [
            path
            for path in shapes(reliability_chart(bins), COLOURS[0])
            if "stroke-opacity: 0.45" in path.attrib["style"]
        ]
        for known, bins in {0: BINS[1:2], 2: BINS, 3: every}.items()
    }
    assert {known: len(found) for known, found in lines.items()} == {0: 0, 2: 2, 3: 3}


def test_an_interval_is_drawn_where_it_is() -> None:
    """Between 0 % and 100 %, whose heights the dashed diagonal gives."""
    root = ElementTree.fromstring(reliability_chart(BINS[:1]))
    dashed = next(p for p in root.iter(f"{SVG}path") if "dasharray" in p.attrib.get("style", ""))
    x0, y0, x1, y1 = (float(value) for value in re.findall(r"-?[\d.]+", dashed.attrib["d"]))
    (line,) = [p for p in root.iter(f"{SVG}path") if "stroke-opacity: 0.45" in p.attrib.get("style", "")]
    left, low, right, high = (float(value) for value in re.findall(r"-?[\d.]+", line.attrib["d"]))
    assert left == right == pytest.approx(x0 + 0.3 * (x1 - x0), abs=0.01)
    assert sorted([low, high]) == pytest.approx(sorted([y0 + 0.1 * (y1 - y0), y0 + 0.5 * (y1 - y0)]), abs=0.01)


def test_a_band_is_as_wide_as_the_interval() -> None:
    """The line of a curve goes through its points, the band through the bounds of those that have some."""
    series = {"a": [(0, 0.2, (0.1, 0.3)), (1, 0.6, None), (2, 1.0, (0.8, 1.0))]}
    text = curve_chart(series, x_label="x", y_label="y")
    (line,) = [p for p in shapes(text, COLOURS[0]) if "fill: none" in p.attrib["style"]]
    points = np.array(re.findall(r"[ML] (-?[\d.]+) (-?[\d.]+)", line.attrib["d"]), dtype=float)
    assert len(points) == 3
    slope = (points[2] - points[0]) / [2, 0.8]  # of one step, and of a proportion of 1
    start = points[0] - slope * [0, 0.2]
    np.testing.assert_allclose((points[1] - start) / slope, [1, 0.6], atol=1e-3)
    (band,) = [e for e in ElementTree.fromstring(text).iter(f"{SVG}use") if "fill-opacity: 0.16" in e.attrib["style"]]
    drawn = ElementTree.fromstring(by_id(text)[band.attrib[f"{XLINK}href"].removeprefix("#")])
    corners = np.array(re.findall(r"[ML] (-?[\d.]+) (-?[\d.]+)", drawn.attrib["d"]), dtype=float)
    corners += [float(band.attrib["x"]), float(band.attrib["y"])]
    found = {(round(x), round(y, 3)) for x, y in ((corners - start) / slope).tolist()}
    assert found == {(0, 0.1), (0, 0.3), (2, 0.8), (2, 1.0)}


def test_bars_are_as_long_as_their_values() -> None:
    text = bar_chart({"one": 0.1, "two": 0.4, "three": 0.2}, x_label="x")
    lengths, tops = [], []
    for bar in shapes(text, f"fill: {COLOURS[0]}"):
        corners = np.array(re.findall(r"[ML] (-?[\d.]+) (-?[\d.]+)", bar.attrib["d"]), dtype=float)
        lengths.append(np.ptp(corners[:, 0]))
        tops.append(corners[:, 1].min())
    assert np.array(lengths) / lengths[0] == pytest.approx([1, 4, 2], abs=0.01)
    assert tops == sorted(tops)  # from top to bottom


def corners(path: ElementTree.Element) -> np.ndarray:
    return np.array(re.findall(r"[ML] (-?[\d.]+) (-?[\d.]+)", path.attrib["d"]), dtype=float)


def test_a_curve_of_trade_offs_goes_through_its_points() -> None:
    """The dashed line from (0, 0) to (1, 1) gives the axes' lengths."""
    points = [(0.0, 0.5, 0.4, 0.6), (0.5, 0.75, 0.7, 0.8), (1.0, 1.0, 0.9, 1.0)]
    text = trade_off_chart(points, x_label="false alarms", y_label="found", guess=((0, 0), (1, 1)))
    root = ElementTree.fromstring(text)
    paths = [path for path in root.iter(f"{SVG}path") if "fill: none" in path.attrib.get("style", "")]
    dashed = corners(next(path for path in paths if "dasharray" in path.attrib["style"]))
    line = corners(next(path for path in paths if COLOURS[0] in path.attrib["style"]))
    slope = dashed[1] - dashed[0]
    np.testing.assert_allclose((line - dashed[0]) / slope, [(x, y) for x, y, _, _ in points], atol=1e-3)


def test_net_benefit_is_drawn_beside_everybody_and_nobody() -> None:
    """The line of nobody, from (0, 0) to (1, 0), and that of everybody, which begins at 0.3, give the axes."""
    points = [(0.01, 0.3, 0.2, 0.35), (0.2, 0.25, 0.2, 0.3), (0.4, 0.1, 0.0, 0.2)]
    text = net_benefit_chart(points, [0.3, 0.15, -0.04])
    root = ElementTree.fromstring(text)
    paths = [path for path in root.iter(f"{SVG}path") if "fill: none" in path.attrib.get("style", "")]
    nobody = corners(next(path for path in paths if "dasharray" in path.attrib["style"]))
    everybody = corners(next(path for path in paths if COLOURS[1] in path.attrib["style"]))
    line = corners(next(path for path in paths if COLOURS[0] in path.attrib["style"]))
    right = nobody[1, 0] - nobody[0, 0]
    up = (everybody[0, 1] - nobody[0, 1]) / 0.3
    found = (everybody - nobody[0]) / [right, up]
    np.testing.assert_allclose(found, [(0.01, 0.3), (0.2, 0.15), (0.4, -0.04)], atol=1e-3)
    np.testing.assert_allclose((line - nobody[0]) / [right, up], [(x, y) for x, y, _, _ in points], atol=1e-3)
    ticks = ["".join(e.itertext()).strip() for e in root.iter(f"{SVG}text")]
    assert "30" in ticks  # of 100 photos
