"""Pictures and charts: colours by hand, the geometry of grids, and SVG that fits any page."""

import base64
import io
import re
from collections.abc import Callable, Iterator
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from regraft.plots import images as figures
from regraft.plots import svg as charts

SVG, XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
GREY = [128, 128, 128]  # 127.5 rounded to even


def test_a_projection_of_nothing_is_grey() -> None:
    found = figures.projection_picture(np.zeros((3, 5, 7), dtype=np.float32))
    assert found.shape == (5, 7, 3)
    assert found.dtype == np.uint8
    assert (found == 128).all()


def test_a_projection_is_white_and_black_at_its_extremes() -> None:
    values = np.zeros((3, 8, 8), dtype=np.float32)
    values[0, :4], values[1, 4:] = 2e-6, -2e-6  # however small they are
    found = figures.projection_picture(values)
    assert found[0, 0].tolist() == [255, 128, 128]
    assert found[7, 7].tolist() == [128, 0, 128]
    half = figures.projection_picture(np.stack([np.full((4, 4), 1.0), np.full((4, 4), 0.5), np.full((4, 4), -0.5)]))
    assert half[2, 2].tolist() == [255, 191, 64]  # 0.75 and 0.25 of 255


def test_one_pixel_alone_is_seen() -> None:
    """It is beyond the percentile that is drawn as full colour, which is 0 here."""
    values = np.zeros((3, 20, 20), dtype=np.float32)
    values[2, 3, 4] = 0.01
    found = figures.projection_picture(values)
    assert found[3, 4].tolist() == [128, 128, 255]
    assert (np.delete(found.reshape(-1, 3), 64, axis=0) == 128).all()


def test_a_few_outliers_do_not_darken_the_rest() -> None:
    values = np.ones((3, 10, 10), dtype=np.float32)
    values[0, 0, 0] = 1000  # one of 300: the 98th percentile is 1
    assert (figures.projection_picture(values) == 255).all()


def test_a_large_projection_is_made_smaller_before_its_contrast_is_set() -> None:
    """Noise of single pixels averages out; what is left of it has full contrast."""
    values = np.random.default_rng(0).normal(0, 1, (3, 448, 224)).astype(np.float32)
    found = figures.projection_picture(values)
    assert found.shape == (112, 56, 3)
    assert (found.min(), found.max()) == (0, 255)
    # of normal deviates, 2 % are beyond the scale at 2.326: the deviation is 127.5 / 2.326 less what is cut off
    assert found.std() == pytest.approx(127.5 / 2.326, rel=0.03)
    assert figures.projection_picture(np.zeros((3, 500, 2)), tile=50).shape == (50, 1, 3)


def plain(height: int, width: int, colour: list[int]) -> np.ndarray:
    return np.broadcast_to(np.array(colour, dtype=np.uint8), (height, width, 3)).copy()


def test_the_geometry_of_a_grid() -> None:
    colours = [[200, 10 * k, 0] for k in range(4)]
    sheet = figures.grid([plain(5, 5, colour) for colour in colours], columns=3, tile=10)
    assert sheet.size == (3 * 10 + 2 * 3, 2 * 10 + 3)
    pixels = np.asarray(sheet.convert("RGBA"))
    for place, colour in enumerate(colours):
        left, upper = place % 3 * 13, place // 3 * 13
        assert (pixels[upper : upper + 10, left : left + 10] == [*colour, 255]).all()
    assert (pixels[:, 10:13, 3] == 0).all()  # gaps and what is missing are transparent
    assert (pixels[10:13, :, 3] == 0).all()
    assert (pixels[13:, 13:, 3] == 0).all()
    assert (pixels[..., 3] > 0).sum() == 4 * 100


def test_a_tile_keeps_its_ratio_and_is_grey_beside_it() -> None:
    (wide,) = (np.asarray(figures.grid([plain(4, 8, [10, 20, 30])], columns=1, tile=16).convert("RGB")),)
    assert wide.shape == (16, 16, 3)
    assert (wide[4:12] == [10, 20, 30]).all()
    assert (wide[:4] == GREY).all()
    assert (wide[12:] == GREY).all()
    tall = np.asarray(figures.grid([plain(40, 10, [10, 20, 30])], columns=1, tile=16).convert("RGB"))
    assert (tall[:, 6:10] == [10, 20, 30]).all()
    assert (np.delete(tall, range(6, 10), axis=1) == GREY).all()
    thin = np.asarray(figures.grid([plain(100, 1, [10, 20, 30])], columns=1, tile=16).convert("RGB"))
    assert (thin != GREY).any(axis=2).sum() == 16  # not even a hundredth is lost


def test_few_pixels_are_enlarged_as_they_are() -> None:
    picture = np.array([[[0, 0, 0], [255, 255, 255]], [[255, 0, 0], [0, 0, 255]]], dtype=np.uint8)
    found = np.asarray(figures.grid([picture], columns=1, tile=12).convert("RGB"))
    assert np.array_equal(found, picture.repeat(6, axis=0).repeat(6, axis=1))


def test_filters_by_hand() -> None:
    weight = np.zeros((2, 3, 2, 2), dtype=np.float32)
    weight[0, 0, 0, 1], weight[0, 1, 1, 0], weight[0, 2, 1, 1] = 0.2, -0.2, 0.1
    first, second = figures.filter_pictures(weight)
    assert first.dtype == np.uint8
    assert first.tolist() == [[GREY, [255, 128, 128]], [[128, 0, 128], [128, 128, 191]]]
    assert second.tolist() == [[GREY, GREY], [GREY, GREY]]  # a filter of zeros


def test_where_there_is_no_heat_the_photo_is_dimmed_grey() -> None:
    photo = np.array([[[30, 60, 90], [255, 255, 255]], [[0, 0, 0], [10, 20, 0]]], dtype=np.uint8)
    for signed in (False, True):
        found = figures.heat_over(photo, np.zeros((2, 2)), signed=signed)
        assert found.dtype == np.uint8
        # 0.7 times the mean of the channels: 42, 178.5 rounded to even, 0, 7
        assert found.tolist() == [[[42] * 3, [178] * 3], [[0] * 3, [7] * 3]]


def test_heat_by_hand() -> None:
    photo = plain(1, 5, [100, 100, 100])  # dimmed: 70
    heat = np.array([[4.0, 1, 0, -1, -4]])
    found = figures.heat_over(photo, heat, signed=True)[0]
    # the largest: a quarter of 70 and three quarters of the palest colour, 252 255 164
    assert found[0].tolist() == [round(17.5 + 0.75 * value) for value in (252, 255, 164)]
    # a quarter of it: 0.75 sqrt(0.25) = 0.375 of the colour at 0.25, 87 16 110
    assert found[1].tolist() == [round(70 + (value - 70) * 0.375) for value in (87, 16, 110)]
    assert found[2].tolist() == [70, 70, 70]
    # below 0: 0.75 / 4 and 0.75 of blue, 33 102 172
    assert found[3].tolist() == [round(70 + (value - 70) * 0.1875) for value in (33, 102, 172)]
    assert found[4].tolist() == [round(70 + (value - 70) * 0.75) for value in (33, 102, 172)]
    unsigned = figures.heat_over(photo, heat)[0]
    assert np.array_equal(unsigned[:3], found[:3])
    assert unsigned[3:].tolist() == [[70, 70, 70]] * 2


def decoded(address: str) -> Image.Image:
    kind, _, data = address.partition(";base64,")
    image = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
    assert kind == f"data:image/{str(image.format).lower()}"
    return image


def test_an_address_holds_the_picture() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 14, 3), dtype=np.uint8)
    exact = decoded(figures.as_data(pixels, kind="png"))
    assert exact.size == (14, 9)
    assert np.array_equal(np.asarray(exact), pixels)
    smooth = np.broadcast_to(np.linspace(0, 255, 64).astype(np.uint8)[None, :, None], (48, 64, 3))
    small = decoded(figures.as_data(smooth))
    assert (small.format, small.size) == ("JPEG", (64, 48))
    assert np.abs(np.asarray(small).astype(int) - smooth).max() < 12
    assert np.asarray(decoded(figures.as_data(pixels[:, ::-1], kind="png"))).tolist() == pixels[:, ::-1].tolist()


def test_what_is_transparent_is_kept_as_png_and_grey_as_jpeg() -> None:
    sheet = figures.grid([plain(8, 8, [200, 100, 0])] * 4, columns=3, tile=16)
    exact = decoded(figures.as_data(sheet, kind="png"))
    assert np.array_equal(np.asarray(exact), np.asarray(sheet))
    flat = np.asarray(decoded(figures.as_data(sheet)))
    assert flat.shape == (35, 54, 3)
    assert np.abs(flat[24:, 24:].astype(int) - 128).max() <= 6
    assert np.abs(flat[2:12, 2:12].astype(int) - [200, 100, 0]).max() <= 6


DEPTH = {
    "pretrained": [(0, 0.5, (0.4, 0.6)), (1, 0.8, (0.7, 0.9)), (2, 0.7, (0.6, 0.8))],
    "random weights": [(0, 0.4, (0.3, 0.5)), (1, 0.5, None), (2, 0.5, (0.4, 0.6))],
}
STAGES = ["features.0", "blocks.1 & <co>", "layer_3"]
BINS = [
    {"confidence": 0.3, "accuracy": 0.25, "n": 8, "interval": (0.1, 0.5)},
    {"confidence": 0.6, "accuracy": 0.5, "n": 2, "interval": None},
    {"confidence": 0.9, "accuracy": 0.95, "n": 40, "interval": (0.85, 0.99)},
]
CHARTS: dict[str, tuple[Callable[[], str], list[str]]] = {
    "depth": (
        lambda: charts.curve_chart(DEPTH, x_label="after stage", y_label="accuracy, %", names=STAGES),
        [*DEPTH, *STAGES, "after stage", "accuracy, %"],
    ),
    "one": (lambda: charts.curve_chart({"alone": DEPTH["pretrained"]}, x_label="x", y_label="y"), ["x", "y"]),
    "nothing known": (
        lambda: charts.curve_chart({"a": [(0, 0.5, None)], "b": [(1, 0.25, None)]}, x_label="x", y_label="y"),
        ["a", "b", "x", "y"],
    ),
    "sizes": (
        lambda: charts.curve_chart(
            {"last layer": [(5, 0.6, (0.5, 0.7)), (50, 0.7, (0.6, 0.8)), (1234, 0.9, (0.8, 1.0))]},
            x_label="photos",
            y_label="accuracy",
            logarithmic=True,
        ),
        ["photos", "accuracy", "5", "50", "1,234"],
    ),
    "reliability": (
        lambda: charts.reliability_chart(BINS),
        ["as sure as right", "photos (area: how many)", "probability of the answer", "share of right answers"],
    ),
    "one bin": (lambda: charts.reliability_chart(BINS[1:2]), ["as sure as right"]),
    "bars": (
        lambda: charts.bar_chart({"conv1": 0.0, "layer1": 0.02, "layer<2>": 0.5}, x_label="change & more"),
        ["conv1", "layer1", "layer<2>", "change & more"],
    ),
    "one bar": (lambda: charts.bar_chart({"conv1": 0.0}, x_label="change"), ["conv1", "change"]),
}


@pytest.fixture(scope="module", params=CHARTS)
def chart(request: pytest.FixtureRequest) -> tuple[str, list[str]]:
    draw, names = CHARTS[request.param]
    return draw(), names


def test_a_chart_is_an_svg_that_takes_its_page_over(chart: tuple[str, list[str]]) -> None:
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
    told = ["".join(element.itertext()).strip() for element in root.iter(f"{SVG}text")]
    assert set(names) <= set(told)


def test_text_has_the_pages_colour(chart: tuple[str, list[str]]) -> None:
    for element in ElementTree.fromstring(chart[0]).iter(f"{SVG}text"):
        assert "currentColor" in element.attrib["style"], "".join(element.itertext())


def by_id(text: str) -> dict[str, str]:
    root = ElementTree.fromstring(text)
    return {e.attrib["id"]: ElementTree.tostring(e).decode() for e in root.iter() if "id" in e.attrib}


def references(text: str) -> Iterator[str]:
    yield from re.findall(r"url\(#([^)]*)\)", text)
    yield from re.findall(r'href="#([^"]*)"', text)


def test_charts_on_one_page_do_not_get_in_each_others_way() -> None:
    """What has the same id in two charts is the same; and every chart holds what it refers to."""
    page: dict[str, str] = {}
    for draw, _ in CHARTS.values():
        text = draw()
        own = by_id(text)
        assert set(references(text)) <= set(own)
        assert len(own) >= 1
        for name, element in own.items():
            assert page.setdefault(name, element) == element


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
    every = [{**one, "interval": (0.1, 0.9)} for one in BINS]
    lines = {
        known: [
            path
            for path in shapes(charts.reliability_chart(bins), charts.COLOURS[0])
            if "stroke-opacity: 0.45" in path.attrib["style"]
        ]
        for known, bins in {0: BINS[1:2], 2: BINS, 3: every}.items()
    }
    assert {known: len(found) for known, found in lines.items()} == {0: 0, 2: 2, 3: 3}


def test_an_interval_is_drawn_where_it_is() -> None:
    """Between 0 % and 100 %, whose heights the dashed line of equal shares tells."""
    root = ElementTree.fromstring(charts.reliability_chart(BINS[:1]))
    dashed = next(p for p in root.iter(f"{SVG}path") if "dasharray" in p.attrib.get("style", ""))
    x0, y0, x1, y1 = (float(value) for value in re.findall(r"-?[\d.]+", dashed.attrib["d"]))
    (line,) = [p for p in root.iter(f"{SVG}path") if "stroke-opacity: 0.45" in p.attrib.get("style", "")]
    left, low, right, high = (float(value) for value in re.findall(r"-?[\d.]+", line.attrib["d"]))
    assert left == right == pytest.approx(x0 + 0.3 * (x1 - x0), abs=0.01)
    assert sorted([low, high]) == pytest.approx(sorted([y0 + 0.1 * (y1 - y0), y0 + 0.5 * (y1 - y0)]), abs=0.01)


def test_a_band_is_as_wide_as_the_interval() -> None:
    """The line of a curve goes through its points, the band through the bounds of those that have some."""
    series = {"a": [(0, 0.2, (0.1, 0.3)), (1, 0.6, None), (2, 1.0, (0.8, 1.0))]}
    text = charts.curve_chart(series, x_label="x", y_label="y")
    (line,) = [p for p in shapes(text, charts.COLOURS[0]) if "fill: none" in p.attrib["style"]]
    points = np.array(re.findall(r"[ML] (-?[\d.]+) (-?[\d.]+)", line.attrib["d"]), dtype=float)
    assert len(points) == 3
    slope = (points[2] - points[0]) / [2, 0.8]  # of a place, and of a share of 1
    start = points[0] - slope * [0, 0.2]
    np.testing.assert_allclose((points[1] - start) / slope, [1, 0.6], atol=1e-3)
    (band,) = [e for e in ElementTree.fromstring(text).iter(f"{SVG}use") if "fill-opacity: 0.16" in e.attrib["style"]]
    drawn = ElementTree.fromstring(by_id(text)[band.attrib[f"{XLINK}href"].removeprefix("#")])
    corners = np.array(re.findall(r"[ML] (-?[\d.]+) (-?[\d.]+)", drawn.attrib["d"]), dtype=float)
    corners += [float(band.attrib["x"]), float(band.attrib["y"])]
    found = {(round(x), round(y, 3)) for x, y in ((corners - start) / slope).tolist()}
    assert found == {(0, 0.1), (0, 0.3), (2, 0.8), (2, 1.0)}


def test_bars_are_as_long_as_their_values() -> None:
    text = charts.bar_chart({"one": 0.1, "two": 0.4, "three": 0.2}, x_label="x")
    lengths, tops = [], []
    for bar in shapes(text, f"fill: {charts.COLOURS[0]}"):
        corners = np.array(re.findall(r"[ML] (-?[\d.]+) (-?[\d.]+)", bar.attrib["d"]), dtype=float)
        lengths.append(np.ptp(corners[:, 0]))
        tops.append(corners[:, 1].min())
    assert np.array(lengths) / lengths[0] == pytest.approx([1, 4, 2], abs=0.01)
    assert tops == sorted(tops)  # from top to bottom
