"""The review in a real browser: keys and mouse, two people, a server that dies, a phone, the dark, axe's rules."""

import json
import re
import signal
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Route, expect
from tests.conftest import photo
from tests.serve.conftest import PHONE, Start, faults

from regraft.classifier.bundle import load_bundle
from regraft.data.label_table import read_label_table

pytestmark = [pytest.mark.browser, pytest.mark.slow]
# What a browser says of no answer, or half of one.
LOST = r"net::ERR_[A-Z_]+"
REFUSED = "the server responded with a status of {}"
TOKEN = "a-secret-of-twenty-letters"


class Reviewed:
    """The command in a process of its own, which reviews a folder.

    Attributes:
        folder: of the photos.
        url: of the page.
    """

    def __init__(self, start: Start, file: Path, folder: Path) -> None:
        self.folder = folder
        self._start, self._file = start, file
        self._process, self._port = start("--review", str(folder), file=file)
        self.url = f"http://127.0.0.1:{self._port}/review"

    def start_again(self) -> None:
        arguments = ("--review", str(self.folder), "--port", str(self._port))
        self._process, _ = self._start(*arguments, file=self._file)

    def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(10)


Review, Open = Callable[..., Reviewed], Callable[..., Page]


@pytest.fixture
def review(start: Start, reviewed_file: Path, tmp_path: Path) -> Review:
    """Return a function that starts a server which reviews 16 photos of blue and of red; two called red are blue."""

    def started() -> Reviewed:
        folder = tmp_path / "colours"
        for number in range(16):
            photo(folder / "red" / f"{number}.jpg", "red" if number > 1 else "blue", number)
            photo(folder / "blue" / f"{number}.jpg", "blue", 100 + number)
        return Reviewed(start, reviewed_file, folder)

    return started


@pytest.fixture
def opened(open_page: Open) -> Open:
    """Return a function that opens a page for a reviewer, by name; None for one who gave none."""

    def page(url: str, reviewer: str | None = "ada", **settings: Any) -> Page:
        script = "" if reviewer is None else f"localStorage['regraft-reviewer'] ??= '{reviewer}'"
        return open_page(url, script=script, **settings)

    return page


def card(page: Page, name: str) -> Locator:
    return page.locator(".card", has=page.locator(".file", has_text=re.compile(f"^{re.escape(name)}$")))


def focused(page: Page) -> str:
    """Return the file of the card that has the focus."""
    return page.locator(".card:focus .file").inner_text()


def is_ready(page: Page, count: int = 32) -> None:
    expect(page.locator(".card")).to_have_count(count, timeout=60_000)
    expect(page.locator(".card").first).to_be_focused()
    for number in range(2):  # lazily, those that are near
        expect(page.locator(".picture img").nth(number)).to_have_attribute("src", re.compile("^blob:"))


def ask(reviewed: Reviewed, path: str) -> Any:
    with urllib.request.urlopen(f"{reviewed.url}/{path}", timeout=10) as answer:
        return json.load(answer)


def log(reviewed: Reviewed) -> list[tuple[str, str | None, str]]:
    """Return action, label and reviewer of all rows of the log, as the server has it."""
    return [(row["action"], row["label"], row["reviewer"]) for row in ask(reviewed, "decisions?after=0")["decisions"]]


def test_decisions_by_keys(review: Review, opened: Open) -> None:
    """The two blue photos that are called red come first; the classes are 1 blue, 2 red."""
    reviewed = review()
    page = opened(reviewed.url)
    is_ready(page)
    first, second, third = page.locator(".file").all_inner_texts()[:3]
    assert {first, second} == {"red/0.jpg", "red/1.jpg"}
    assert third.startswith("blue/")
    expect(card(page, first).locator(".why")).to_have_text(re.compile("^labelled red, may be blue: the label is wrong"))
    page.keyboard.press("s")
    expect(card(page, first).locator(".state")).to_have_text("✓ blue, by ada")
    expect(card(page, first).locator(".label")).to_have_text("red blue")
    expect(page.get_by_role("status").last).to_have_text(f"{first}: relabelled blue, saved")
    assert focused(page) == second
    page.keyboard.press("x")
    expect(card(page, second).locator(".state")).to_have_text("✕ left out, by ada")
    page.keyboard.press("Enter")
    expect(card(page, third).locator(".state")).to_have_text("✓ blue, by ada")
    fourth = focused(page)
    page.keyboard.press("2")
    expect(card(page, fourth).locator(".state")).to_have_text("✓ red, by ada")
    page.keyboard.press("u")
    expect(card(page, fourth).locator(".state")).to_have_text("")
    expect(card(page, fourth)).to_be_focused()
    page.keyboard.press("Control+z")
    expect(card(page, third).locator(".state")).to_have_text("")
    expect(page.get_by_role("status").last).to_have_text(f"{third}: confirmed, undone")
    expect(page.locator("#progress-words")).to_have_text("2 of 32 photos decided")
    said = [
        ("relabel", "blue"),
        ("exclude", None),
        ("confirm", "blue"),
        ("relabel", "red"),
        ("undo", None),
        ("undo", None),
    ]
    assert log(reviewed) == [(*one, "ada") for one in said]
    page.reload()
    is_ready(page, 30)  # what is decided is hidden
    page.get_by_label("Hide decided").uncheck()
    expect(page.locator(".card")).to_have_count(32)
    expect(card(page, first).locator(".state")).to_have_text("✓ blue, by ada")
    expect(card(page, second).locator(".state")).to_have_text("✕ left out, by ada")


def test_arrows_the_large_view_and_the_help(review: Review, opened: Open) -> None:
    """Of 1,120 pixels there are 4 columns: cards of 240, gaps of 16."""
    page = opened(review().url)
    is_ready(page)
    files = page.locator(".file").all_inner_texts()
    for key, place in (
        ("ArrowRight", 1),
        ("ArrowDown", 5),
        ("ArrowLeft", 4),
        ("ArrowUp", 0),
        ("ArrowUp", 0),
        ("End", 31),
        ("Home", 0),
    ):
        page.keyboard.press(key)
        expect(card(page, files[place])).to_be_focused()
    page.keyboard.press("Space")
    expect(page.locator("#closer")).to_be_visible()
    expect(page.locator("#closer-photo")).to_have_attribute("src", re.compile("^blob:"))
    page.keyboard.press("ArrowRight")
    expect(page.locator("#closer-file")).to_have_text(files[1])
    page.keyboard.press("1")
    expect(page.locator("#closer-file")).to_have_text(files[2])  # the next one
    page.keyboard.press("u")
    expect(page.locator("#closer-file")).to_have_text(files[1])
    page.keyboard.press("Escape")
    expect(page.locator("#closer")).to_be_hidden()
    expect(card(page, files[1])).to_be_focused()
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    page.keyboard.press("x")  # decides nothing there
    page.keyboard.press("Escape")
    page.locator("#reviewer").click()
    page.keyboard.type("x1cu")  # nor in a field
    page.keyboard.press("Enter")
    expect(page.locator("#reviewer")).to_have_text("Reviewer: x1cu")
    expect(page.locator(".card[data-kind=saved]")).to_have_count(0)


def test_tab_leads_from_a_photo_to_its_buttons_and_on(review: Review, opened: Open) -> None:
    page = opened(review().url)
    is_ready(page)
    first = focused(page)
    reached = []
    for _ in range(5):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.getAttribute('aria-label')"))
    assert reached == [f"Look closer at {first}", "Confirm red", "Relabel blue", "Other class…", "Leave out"]
    page.keyboard.press("Enter")
    expect(card(page, first).locator(".state")).to_have_text("✕ left out, by ada")
    page.keyboard.press("Tab")
    assert page.locator(".card:focus-within .file").inner_text() != first
    page.locator("body").press("Home")
    before = set()
    for _ in range(20):
        page.keyboard.press("Shift+Tab")
        before.add(page.evaluate("document.activeElement.id || document.activeElement.name"))
    assert {"reviewer", "retrain", "labels", "adding", "look", "show-help", "reason", "undecided", "conflict"} <= before


def test_decisions_by_mouse_and_a_new_class(review: Review, opened: Open) -> None:
    reviewed = review()
    page = opened(reviewed.url, None)
    is_ready(page)
    files = page.locator(".file").all_inner_texts()
    card(page, files[0]).get_by_role("button", name="Relabel blue").click()
    page.get_by_label("Name", exact=True).fill(" Ada  ")
    page.get_by_role("button", name="Go on").last.click()
    expect(card(page, files[0]).locator(".state")).to_have_text("✓ blue, by Ada")
    card(page, files[4]).get_by_role("button", name="Confirm blue").click()
    card(page, files[5]).get_by_role("button", name="Leave out").click()
    expect(card(page, files[5]).locator(".state")).to_have_text("✕ left out, by Ada")
    card(page, files[6]).get_by_role("button", name="Other class").click()
    page.get_by_role("combobox").fill("bl")
    expect(page.get_by_role("option")).to_have_text([re.compile("^blue"), "Make a new class “bl”"])
    page.get_by_role("option").first.click()
    expect(card(page, files[6]).locator(".state")).to_have_text("✓ blue, by Ada")
    page.keyboard.press("r")
    page.keyboard.type("owl")
    page.keyboard.press("Enter")
    expect(page.locator("#choose-question")).to_have_text("Make a new class “owl”?")
    page.get_by_role("button", name="Make it").click()
    expect(page.locator("#legend .class")).to_have_text(
        [re.compile("^1 ?blue"), re.compile("^2 ?red"), re.compile("^3 ?owl ?1 ?new")]
    )
    page.keyboard.press("3")  # it has a key by now
    expect(page.locator(".card .state", has_text="✓ owl, by Ada")).to_have_count(2)
    assert log(reviewed)[-2:] == [("relabel", "owl", "Ada")] * 2
    card(page, files[0]).locator(".picture").click()
    expect(page.locator("#closer-file")).to_have_text(files[0])
    page.locator("#closer").get_by_role("button", name="Close").click()
    expect(page.locator("#closer")).to_be_hidden()


def test_which_class_a_digit_gives(review: Review, opened: Open) -> None:
    """In their order, the first nine; a class that is called like a digit has that one."""
    page = opened(review().url)

    def keys(*names: str) -> dict[str, str]:
        script = "async (names) => [...(await import('/static/review_keys.js')).digitsOf(names)]"
        return dict(page.evaluate(script, list(names)))

    assert keys("cat", "dog") == {"1": "cat", "2": "dog"}
    assert keys("0", "1", "7") == {"0": "0", "1": "1", "7": "7"}
    assert keys("2", "cat", "dog") == {"2": "2", "1": "cat", "3": "dog"}
    assert keys(*"abcdefghijk") == dict(zip("123456789", "abcdefghi", strict=True))


def test_a_class_that_is_new_takes_no_digit_over(review: Review, opened: Open) -> None:
    """Not by its place in the alphabet, nor as it is called like the digit of another."""
    page = opened(review().url)
    is_ready(page)
    script = """async (names) => {
      const found = ["blue", "red"].map((name) => ({name, photos: 1, new: false}));
      const fresh = names.map((name) => ({name, photos: 1, new: true}));
      const state = await import("/static/review_state.js");
      return state.orderedClasses({classes: [...found, ...fresh]}).map(({name}) => name);
    }"""
    assert page.evaluate(script, ["wolf"]) == ["blue", "red", "wolf"]
    assert page.evaluate(script, ["ant", "wolf"]) == ["blue", "red", "wolf", "ant"]
    script = """async ([names, more]) => {
      const {digitsOf} = await import("/static/review_keys.js");
      return [...digitsOf(more, digitsOf(names))];
    }"""
    kept = page.evaluate(script, [["cat", "dog"], ["ant", "cat", "1", "4"]])
    assert dict(kept) == {"1": "cat", "2": "dog", "3": "ant", "4": "4"}


def test_keys_act_where_a_photo_has_the_focus_and_once(review: Review, opened: Open) -> None:
    reviewed = review()
    page = opened(reviewed.url)
    is_ready(page)
    for _ in range(2):
        page.keyboard.press("c")
    expect(page.locator(".card[data-kind=saved]")).to_have_count(2)
    third = focused(page)
    page.evaluate("document.activeElement.blur()")
    for key in "xu1?":
        page.keyboard.press(key)
    page.get_by_role("button", name="Reload the list").focus()
    for key in "xu1?":
        page.keyboard.press(key)
    expect(page.locator("#help")).to_be_hidden()
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("ArrowRight")
    expect(card(page, third)).to_be_focused()
    for _ in range(3):
        page.keyboard.down("u")  # it is held: all but the first are repeats
    page.keyboard.up("u")
    page.keyboard.press("x")
    expect(page.get_by_role("status").last).to_contain_text("left out, saved")
    assert [action for action, _, _ in log(reviewed)] == ["confirm", "confirm", "undo", "exclude"]


def test_keys_wait_for_photos_that_are_still_loaded(review: Review, opened: Open) -> None:
    """Two come at first; those after them fail, and then take their time."""
    page = opened(review().url, allowed=LOST)
    is_ready(page)
    files = page.locator(".file").all_inner_texts()
    held: list[Route] = []
    fails = True

    def photos(route: Route) -> None:
        if "after=-1" in route.request.url:
            answer = route.fetch().json()
            route.fulfill(json=answer | {"photos": answer["photos"][:2]})
        elif fails:
            route.abort("connectionrefused")
        else:
            held.append(route)

    page.route("**/review/photos?*", photos)
    page.reload()
    lost = "More photos could not be loaded. The server does not answer. Is it still running?"
    expect(page.locator("#end-words")).to_have_text(lost)
    page.locator(".card").nth(1).focus()
    page.keyboard.press("c")
    expect(page.get_by_role("status").last).to_contain_text(lost)
    expect(page.get_by_role("status").last).not_to_contain_text("last one")
    fails = False
    page.get_by_role("button", name="Try again").click()
    page.locator(".card").first.focus()
    page.keyboard.press("c")
    page.keyboard.press("x")
    expect(page.locator(".card[data-kind=saved]")).to_have_count(2)
    expect(page.locator("#progress-words")).to_have_text("2 of 32 photos decided")
    assert len(held) == 1
    held[0].continue_()
    expect(card(page, files[2]).locator(".state")).to_have_text("✕ left out, by ada")
    expect(page.locator(".card")).to_have_count(32)
    expect(page.locator("#end-words")).to_have_text("That was all: 32 photos.")


def test_a_server_that_takes_a_request_and_is_silent(review: Review, opened: Open) -> None:
    page = opened(review().url)
    is_ready(page)
    page.route("**/silence", lambda _: None)
    script = """async (limit) => {
      const {askFile} = await import("/static/ask.js");
      const {signal} = new AbortController();
      return askFile("silence", {signal}, {limit}).catch(({message, status}) => [message, status]);
    }"""
    assert page.evaluate(script, 0.2) == ["The server did not answer within 0.2 s.", 0]


def test_the_list_follows_a_new_look_at_the_photos(review: Review, opened: Open) -> None:
    page = opened(review().url)
    look, lists = 1, 0

    def patched(route: Route) -> None:
        nonlocal lists
        lists += "after=-1" in route.request.url
        route.fulfill(json=route.fetch().json() | {"look": look})

    page.route(re.compile(r"/review/(state|photos\?)"), patched)
    page.reload()
    is_ready(page)
    page.wait_for_timeout(2500)  # asked for its state again
    assert lists == 1
    page.keyboard.press("End")
    last = focused(page)
    look = 2
    page.wait_for_timeout(3000)
    assert lists == 2
    expect(card(page, last)).to_be_focused()
    page.keyboard.press("Space")
    look = 3
    page.wait_for_timeout(3000)
    assert lists == 3
    expect(page.locator("#closer-file")).to_have_text(last)
    page.keyboard.press("Escape")
    expect(card(page, last)).to_be_focused()


def test_filters(review: Review, opened: Open) -> None:
    page = opened(review().url)
    is_ready(page)
    wrong = page.get_by_role("radio", name="Likely wrong labels 2")
    page.locator(".chip", has=wrong).click()
    expect(page.locator(".card")).to_have_count(2)
    page.keyboard.press("Tab")
    page.locator(".card").first.focus()
    page.keyboard.press("s")
    expect(page.locator(".chip", has_text="Likely wrong labels")).to_have_text("Likely wrong labels 1")
    expect(page.locator(".card")).to_have_count(2)  # it stays where it is
    page.get_by_role("button", name="Reload the list").click()
    expect(page.locator(".card")).to_have_count(1)
    page.locator(".card").first.focus()
    page.keyboard.press("s")
    expect(page.get_by_role("status").last).to_contain_text("saved")
    page.get_by_role("button", name="Reload the list").click()
    expect(page.locator("#end-words")).to_have_text("No photo is left here.")


def test_retraining_shows_what_it_changed(review: Review, opened: Open, tmp_path: Path) -> None:
    reviewed = review()
    page = opened(reviewed.url)
    is_ready(page)
    for key in "ss":
        page.keyboard.press(key)
    expect(page.locator("#retrain")).to_have_text("Retrain · 2 decisions")
    page.get_by_role("button", name="Retrain").click()
    expect(page.locator("#figures tr")).to_have_count(4, timeout=60_000)
    result = ask(reviewed, "state")["retrain"]["result"]
    expect(page.locator("#result-about")).to_contain_text("2 photos relabelled, 0 left out.")
    expect(page.locator("#result-about")).to_contain_text(f"compared on {result['compared']} photos")
    before = "the same fit with the labels as they were found in colours, not the classifier that answers here."
    expect(page.locator("#result-about")).to_contain_text(f"Before: {before}")
    figure = result["figures"][0]
    row = page.locator("#figures tr").first
    expect(row).to_contain_text(f"{100 * figure['before']:.1f} % → {100 * figure['after']:.1f} %")
    low, high = (f"{100 * end:+.1f}".replace("-", "\N{MINUS SIGN}") for end in figure["interval"])
    expect(row).to_contain_text(f"95 % interval {low} to {high}")
    row, figure = page.locator("#figures tr").last, result["figures"][-1]  # log loss, less of which is better
    assert (figure["name"], figure["difference"] < 0) == ("log_loss", True)
    zero, low_at, dot, high_at = (
        row.locator(f"svg {name}").nth(number).bounding_box()
        for name, number in ((".zero", 0), (".interval", 1), (".dot", 0), (".interval", 2))
    )
    assert low_at["x"] < dot["x"] + dot["width"] / 2 < high_at["x"]
    assert dot["x"] + dot["width"] / 2 < zero["x"]
    expect(row).to_contain_text("← better")
    expect(row.locator(".verdict")).to_have_text("▲ proven better" if figure["interval"][1] < 0 else "○ not proven")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download it").click()
    kept = tmp_path / "kept.safetensors"
    download.value.save_as(kept)
    assert load_bundle(kept).classes == ("blue", "red")
    page.get_by_role("button", name="Answer by it here").click()
    expect(page.get_by_role("button", name="This server answers by it")).to_be_disabled()
    expect(page.locator("#retrain")).to_have_text("Retrain")
    assert faults(page) == []

    def used(route: Route) -> None:
        state = route.fetch().json()
        state["retrain"]["result"] |= {"learned_from": 1000, "classes_lost": ["owl"]}
        route.fulfill(json=state)

    page.route("**/review/state", used)
    page.reload()
    is_ready(page, 30)
    expect(page.locator("#figures")).to_be_hidden()  # what is known already takes no room
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.locator("#figures tr")).to_have_count(4)
    expect(page.locator("#use-about")).to_have_text("It learned from 1,000 photos. It does not know: owl.")


def test_two_people_see_each_other(review: Review, opened: Open) -> None:
    reviewed = review()
    ada, bob = opened(reviewed.url, "ada"), opened(reviewed.url, "bob")
    is_ready(ada)
    is_ready(bob)
    first, second = ada.locator(".file").all_inner_texts()[:2]
    ada.keyboard.press("s")
    expect(card(bob, first).locator(".state")).to_have_text("✓ blue, by ada")
    bob.keyboard.press("x")
    expect(card(ada, first).locator(".state")).to_have_text("✕ left out, by bob")
    expect(card(ada, first).locator(".others")).to_have_text("⚠ ada says blue")
    bob.keyboard.press("s")
    expect(card(ada, second).locator(".state")).to_have_text("✓ blue, by bob")
    ada.get_by_label("Reviewers differ").check()
    expect(ada.locator(".file")).to_have_text([first])
    expect(ada.locator("#conflicts")).to_have_text("(1)")


def test_a_server_that_is_killed_loses_nothing(review: Review, opened: Open) -> None:
    """What was shown as saved is there; what was not is sent once the server is back, in order, each once."""
    reviewed = review()
    page = opened(reviewed.url, allowed=LOST)
    is_ready(page)
    files = page.locator(".file").all_inner_texts()
    for _ in range(3):
        page.keyboard.press("c")
    expect(page.locator(".card[data-kind=saved]")).to_have_count(3)
    for key in "1212":
        page.keyboard.press(key)  # some of these are under way
    reviewed.kill()
    for key in "xx":
        page.keyboard.press(key)
    expect(page.locator("#banner")).to_contain_text("The server does not answer.")
    expect(page.locator("#banner")).to_contain_text("not saved yet: kept here, and sent as soon as it is back.")
    expect(card(page, files[8]).locator(".state")).to_have_text("left out: not saved yet")
    page.keyboard.press("u")  # the last one
    reviewed.start_again()
    expect(page.locator("#banner")).to_be_hidden(timeout=60_000)
    expect(page.locator(".card[data-kind=saved]")).to_have_count(8, timeout=60_000)
    expect(card(page, files[8]).locator(".state")).to_have_text("")
    assert [action for action, _, _ in log(reviewed)] == wanted_actions(files[:7])
    assert page.evaluate("sessionStorage.length") == 0


def test_keys_pressed_while_the_server_is_silent_are_kept(review: Review, opened: Open) -> None:
    """Each leads on at once; all are saved, in order, as soon as it answers again."""
    reviewed = review()
    page = opened(reviewed.url)
    is_ready(page)
    files = page.locator(".file").all_inner_texts()
    reviewed.pause()
    reached = []
    for key in "xcxcxcxcxcxc":
        reached.append(focused(page))
        page.keyboard.press(key)
    assert reached == files[:12]
    page.wait_for_timeout(3000)  # its state is asked for meanwhile
    expect(page.locator(".card[data-kind=saving]")).to_have_count(12)
    reviewed.go_on()
    expect(page.locator(".card[data-kind=saved]")).to_have_count(12)
    expect(page.locator("#progress-words")).to_have_text("12 of 32 photos decided")
    assert [action for action, _, _ in log(reviewed)] == ["exclude", "confirm"] * 6


def test_the_large_view_says_that_nothing_is_saved(review: Review, opened: Open) -> None:
    """It covers the page and makes it inert: what is said is said in it, and it makes room for the token's form."""
    reviewed = review()
    page = opened(reviewed.url, allowed=f"({LOST}|{REFUSED.format(401)})")
    is_ready(page)
    page.keyboard.press("Space")
    expect(page.locator("#closer-photo")).to_have_attribute("src", re.compile("^blob:"))
    reviewed.kill()
    page.keyboard.press("x")
    banner = page.get_by_role("dialog").get_by_role("alert")
    expect(banner).to_contain_text("1 decision not saved yet")
    script = """(banner) => {
      const {x, y, width, height} = banner.getBoundingClientRect();
      return banner.contains(document.elementFromPoint(x + width / 2, y + height / 2));
    }"""
    assert banner.evaluate(script)
    assert faults(page) == []
    page.keyboard.press("Escape")
    expect(page.locator("main #banner")).to_contain_text("1 decision not saved yet")
    page.keyboard.press("Space")
    page.route("**/review/**", lambda route: route.fulfill(status=401, json={"error": "no"}))
    expect(page.get_by_label("Access token")).to_be_focused()
    expect(page.locator("#closer")).to_be_hidden()


def wanted_actions(files: list[str]) -> list[str]:
    """Return what the keys c c c 1 2 1 2 x x u do: 1 is blue, 2 is red."""
    given = ["blue", "red", "blue", "red"]
    own = [
        "confirm" if name.startswith(f"{label}/") else "relabel" for name, label in zip(files[3:], given, strict=True)
    ]
    return ["confirm"] * 3 + own + ["exclude", "exclude", "undo"]


def test_a_reload_loses_no_decision_that_is_not_saved(review: Review, opened: Open) -> None:
    reviewed = review()
    page = opened(reviewed.url, allowed=LOST)
    is_ready(page)
    first = focused(page)
    page.route("**/review/decisions", lambda route: route.abort("connectionrefused"))
    page.keyboard.press("x")
    expect(card(page, first).locator(".state")).to_have_text("left out: not saved yet")
    page.unroute("**/review/decisions")
    page.reload()
    expect(page.locator("#progress-words")).to_have_text("1 of 32 photos decided", timeout=20_000)
    assert log(reviewed) == [("exclude", None, "ada")]


def test_an_answer_that_is_lost_is_no_second_decision(review: Review, opened: Open) -> None:
    reviewed = review()
    page = opened(reviewed.url, allowed=LOST)
    is_ready(page)
    first = focused(page)

    def lose(route: Route) -> None:
        route.fetch()
        route.abort("connectionreset")

    page.route("**/review/decisions", lose, times=1)
    page.keyboard.press("x")
    expect(card(page, first).locator(".state")).to_have_text("✕ left out, by ada", timeout=20_000)
    page.route("**/review/undo", lose, times=1)
    page.keyboard.press("u")
    expect(card(page, first).locator(".state")).to_have_text("", timeout=20_000)
    assert [action for action, _, _ in log(reviewed)] == ["exclude", "undo"]


def test_what_the_server_refuses_is_said_and_can_be_tried_again(review: Review, opened: Open) -> None:
    reviewed = review()
    page = opened(reviewed.url, allowed=REFUSED.format(422))
    is_ready(page)
    first = focused(page)
    page.keyboard.press("r")
    page.keyboard.type("nan")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Make it").click()
    expect(card(page, first).locator(".state")).to_contain_text("Not saved: label must be the name of a class")
    expect(page.locator("#banner")).to_contain_text(f"{first}: not saved. label must be the name of a class")
    card(page, first).get_by_role("button", name="Try again").click()
    expect(card(page, first).locator(".state")).to_contain_text("Not saved: label must be")
    page.get_by_role("button", name="Give up on what was refused").click()
    expect(page.locator("#banner")).to_be_hidden()
    expect(card(page, first).locator(".state")).to_have_text("")
    assert log(reviewed) == []


def test_one_photo_that_the_server_fails_over_holds_up_no_other(review: Review, opened: Open) -> None:
    """What was refused is what `u` takes back, if nothing came after it."""
    reviewed = review()
    page = opened(reviewed.url, allowed=REFUSED.format(500))
    is_ready(page)
    first, second, third = page.locator(".file").all_inner_texts()[:3]
    sent = []

    def decide(route: Route) -> None:
        said = route.request.post_data_json
        if said["action"] != "exclude":
            route.continue_()
            return
        sent.append(said["photo"])
        route.fulfill(status=500, json={"error": "It broke."})

    page.route("**/review/decisions", decide)
    for key in "xcx":
        page.keyboard.press(key)
    expect(card(page, third).locator(".state")).to_contain_text("Not saved: It broke.", timeout=30_000)
    expect(card(page, first).locator(".state")).to_contain_text("Not saved: It broke.")
    expect(card(page, second).locator(".state")).to_have_text("✓ red, by ada")
    assert [sent.count(photo) for photo in dict.fromkeys(sent)] == [3, 3]
    page.keyboard.press("u")
    expect(card(page, third).locator(".state")).to_have_text("")
    expect(page.get_by_role("status").last).to_have_text(f"{third}: taken back, it was not saved")
    page.keyboard.press("u")
    expect(card(page, second).locator(".state")).to_have_text("")
    expect(card(page, first).locator(".state")).to_contain_text("Not saved: It broke.")
    assert [action for action, _, _ in log(reviewed)] == ["confirm", "undo"]


def test_new_photos_and_the_table_of_labels(review: Review, opened: Open, tmp_path: Path) -> None:
    reviewed = review()
    page = opened(reviewed.url)
    is_ready(page)
    first = focused(page)
    page.keyboard.press("s")
    page.get_by_role("button", name="Add photos").click()
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no photo")
    page.set_input_files("#new-files", [photo(tmp_path / "new.jpg", "green", 7), broken])
    page.get_by_label("Class", exact=True).fill("green")
    page.get_by_role("button", name="Add 2 photos of a new class “green”").click()
    expect(page.locator("#add-said li")).to_have_text(
        ["1 photo added; 1 refused:", re.compile("^broken.jpg: not an image")]
    )
    page.get_by_role("button", name="Close").last.click()
    expect(page.locator("#legend .class").last).to_contain_text("green")
    page.get_by_label("Hide decided").uncheck()
    page.locator(".chip", has_text="Added").click()
    expect(page.locator(".card .label")).to_have_text(["green"])
    with page.expect_download() as download:
        page.get_by_role("button", name="Labels as CSV").click()
    assert download.value.suggested_filename == "reviewed.csv"
    table = tmp_path / "reviewed.csv"
    download.value.save_as(table)
    rows = [(row.name, row.label) for row in read_label_table(table).rows]
    assert (first, "blue") in rows
    assert [label for name, label in rows if name.endswith("new.jpg") or "added" in name] == ["green"]


def test_photos_that_were_put_there_since(review: Review, opened: Open) -> None:
    reviewed = review()
    page = opened(reviewed.url)
    is_ready(page)
    photo(reviewed.folder / "red" / "late.jpg", "red", 999)
    page.get_by_role("button", name="Look again").click()
    expect(page.get_by_role("status").last).to_have_text(re.compile("^1 photo is new."), timeout=60_000)
    page.get_by_role("button", name="Reload the list").click()
    expect(page.locator(".card")).to_have_count(33)


def test_a_phone(review: Review, opened: Open) -> None:
    page = opened(review().url, viewport=PHONE, is_mobile=True, has_touch=True)
    is_ready(page)
    first = focused(page)
    card(page, first).get_by_role("button", name="Relabel blue").tap()
    expect(card(page, first).locator(".state")).to_have_text("✓ blue, by ada")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    card(page, first).locator(".picture").tap()
    expect(page.locator("#closer-photo")).to_have_attribute("src", re.compile("^blob:"))
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    box = page.locator("#closer").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= PHONE["width"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_fault(review: Review, opened: Open, scheme: str) -> None:
    page = opened(review().url, None, color_scheme=scheme, reduced_motion="reduce")
    is_ready(page)
    assert faults(page) == []
    page.keyboard.press("x")
    expect(page.locator("#who")).to_be_visible()
    assert faults(page) == []
    page.keyboard.type("ada")
    page.keyboard.press("Enter")
    expect(page.locator(".card[data-kind=saved]")).to_have_count(1)
    assert faults(page) == []
    for key, dialog in (("r", "#choose"), ("l", "#closer"), ("?", "#help")):
        page.keyboard.press(key)
        expect(page.locator(dialog)).to_be_visible()
        assert faults(page) == [], dialog
        page.keyboard.press("Escape")
    page.get_by_role("button", name="Add photos").click()
    assert faults(page) == []


def test_a_token_is_asked_for(review: Review, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGRAFT_TOKEN", TOKEN)
    reviewed = review()
    page = opened(reviewed.url, allowed=REFUSED.format(401))
    page.get_by_label("Access token").fill(TOKEN)
    page.get_by_role("button", name="Go on").first.click()
    is_ready(page)
    first = focused(page)
    page.keyboard.press("c")
    expect(card(page, first).locator(".state")).to_have_text("✓ red, by ada")


def test_the_page_to_try_it_shows_similar_photos(review: Review, opened: Open, tmp_path: Path) -> None:
    reviewed = review()
    page = opened(reviewed.url)
    is_ready(page)
    page.get_by_role("link", name="Try a photo").click()
    expect(page.get_by_role("link", name="Review the training photos")).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_have_text("Blue or red?")
    wait_for(lambda: ask(reviewed, "state")["doing"] is None)
    page.set_input_files("#files", photo(tmp_path / "new.jpg", "red", 5000))
    expect(page.locator("#similar-photos li")).to_have_count(6)
    expect(page.locator("#similar-photos strong")).to_have_text(["red"] * 6)
    expect(page.locator("#similar-photos img").first).to_have_attribute("src", re.compile("^blob:"))
    shares = [float(re.sub("[^0-9.]", "", text)) for text in page.locator("#similar-photos .quiet").all_inner_texts()]
    assert shares == sorted(shares, reverse=True)
    assert faults(page) == []
    page.get_by_role("link", name="Review the training photos").click()
    is_ready(page)


def wait_for(fact: Callable[[], bool]) -> None:
    ends = time.monotonic() + 60
    while not fact():
        assert time.monotonic() < ends
        time.sleep(0.1)


def test_what_goes_on_before_photos_are_known_is_said(review: Review, opened: Open) -> None:
    """And what is wrong, if it ends before."""
    reviewed = review()
    page = opened(reviewed.url)
    is_ready(page)
    state = ask(reviewed, "state")
    looking = {"phase": "looking", "doing": {"task": "looking at the photos", "done": 120, "total": 1000}}
    failed = {"phase": "failed", "doing": None, "error": "colours has photos of one class."}
    asked = []
    page.route("**/review/look", lambda route: asked.append(route.request.method) or route.fulfill(status=202, json={}))
    page.route("**/review/state", lambda route: route.fulfill(json=state | looking))
    page.reload()
    expect(page.locator("#work-words")).to_have_text("Looking at the photos: 120 of 1,000 …")
    bar = page.get_by_role("progressbar", name="Looking at the photos")
    assert bar.evaluate("(bar) => [bar.value, bar.max]") == [120, 1000]
    expect(page.locator("#reviewing")).to_be_hidden()
    assert faults(page) == []
    page.unroute("**/review/state")
    page.route("**/review/state", lambda route: route.fulfill(json=state | failed))
    said = "colours has photos of one class. colours cannot be reviewed yet: mend that, and look again."
    expect(page.locator("#failure-words")).to_have_text(said)
    expect(page.locator("#work")).to_be_hidden()
    assert faults(page) == []
    page.locator("#look-anew").click()
    page.unroute("**/review/state")
    is_ready(page)
    assert asked == ["POST"]


def test_photos_are_fetched_six_at_once_and_near_the_window_alone(review: Review, opened: Open) -> None:
    """32 photos lie in 8 rows of 4, of which 1,450 pixels (the window's and 600 more) show less than 4."""
    page = opened(review().url)
    is_ready(page)
    held: list[Route] = []
    released = False

    def hold(route: Route) -> None:
        if released:
            route.continue_()
        else:
            held.append(route)

    page.route("**/image?*", hold)
    page.once("framenavigated", lambda _: held.clear())  # the page before may still have asked for one
    page.reload()
    expect(page.locator(".card")).to_have_count(32)
    page.wait_for_timeout(700)
    assert len(held) == 6
    released = True
    for route in held:
        route.continue_()
    expect(page.locator(".picture img").nth(7)).to_have_attribute("src", re.compile("^blob:"))
    assert 8 <= page.locator(".picture img[src]").count() <= 16
    page.locator(".card").last.scroll_into_view_if_needed()
    expect(page.locator(".picture img").last).to_have_attribute("src", re.compile("^blob:"))
