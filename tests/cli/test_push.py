"""`regraft push`, and what others do with what it has pushed: the hub is one of the tests' own."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from tests.fixtures.hub import Hub, Repository
from typer.testing import Result

# the hub's client uploads large files by an argument that its own HTTP client calls old
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
Run = Callable[..., Result]
Fails = Callable[..., str]
Photos = Callable[..., Path]


def test_what_is_pushed_answers_the_same(run: Run, bundle: Path, hub: Hub, photos: Photos) -> None:
    new = photos("new", first_seed=700, red=2, blue=2)
    done = run("push", bundle, "ann/pets", "--message", "First")
    assert done.exit_code == 0, done.output
    assert done.stdout == f"{hub.address}/ann/pets\n"
    assert "everybody can use it: regraft predict hf-hub:ann/pets PHOTOS" in done.stderr
    repository = hub.repositories["ann/pets"]
    assert sorted(repository.files) == ["README.md", "classifier.safetensors"]
    assert repository.files["classifier.safetensors"] == bundle.read_bytes()
    assert repository.messages == ["First"]
    card = ModelCard(repository.files["README.md"].decode())
    assert card.data.library_name == "regraft"
    assert "regraft predict hf-hub:ann/pets PHOTOS" in card.text
    assert str(bundle.parent) not in card.content
    own = run("predict", bundle, new, "--format", "csv")
    there = run("predict", "hf-hub:ann/pets", new, "--format", "csv")
    assert there.exit_code == 0, there.output
    assert there.stdout == own.stdout
    assert f"hf-hub:ann/pets: the classifier of commit {repository.commits[-1][0][:12]}\n" in there.stderr


@pytest.mark.slow
def test_the_newest_is_taken_and_a_commit_stays(run: Run, bundle: Path, hub: Hub, photos: Photos) -> None:
    new = photos("new", first_seed=700, red=1)
    assert run("push", bundle, "ann/pets").exit_code == 0
    first = hub.repositories["ann/pets"].commits[-1][0]
    assert run("predict", "hf-hub:ann/pets", new).exit_code == 0
    hub.repositories["ann/pets"].commit({"classifier.safetensors": b"damaged"})
    assert "is damaged" in run("predict", "hf-hub:ann/pets", new).stderr
    assert run("predict", f"hf-hub:ann/pets@{first}", new).exit_code == 0
    asked = len(hub.asked)
    assert run("predict", f"hf-hub:ann/pets@{first}", new).exit_code == 0
    assert len(hub.asked) == asked  # a commit never changes


def test_without_a_connection_the_copy_is_taken(
    run: Run, fails: Fails, bundle: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = bundle.parent / "learned" / "red" / "0.jpg"
    assert run("push", bundle, "ann/pets").exit_code == 0
    before = run("predict", "hf-hub:ann/pets", new)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")  # nobody answers there
    done = run("predict", "hf-hub:ann/pets", new)
    assert done.stdout == before.stdout
    assert ", fetched before, as the hub cannot be asked (no network: 127.0.0.1 does not answer (" in done.stderr
    message = fails("predict", "hf-hub:ann/others", new)
    assert message.startswith(
        "error: hf-hub:ann/others: the classifier cannot be downloaded, and is not on this machine (no network: "
    )
    message = fails("push", bundle, "ann/pets")
    assert message.startswith(f"error: {bundle} was not uploaded to ann/pets: no network: 127.0.0.1 does not answer (")
    assert message.endswith("). Nothing was committed.\n")


@pytest.mark.slow
def test_fit_starts_from_what_was_pushed(run: Run, fails: Fails, bundle: Path, hub: Hub, photos: Photos) -> None:
    learned = photos("others", first_seed=90, green=8, grey=8)
    assert run("push", bundle, "ann/pets").exit_code == 0
    how = ("--strategy", "frozen", "--features", "last")
    done = run("fit", learned, "--model", "hf-hub:ann/pets", *how, "--out", "a.safetensors", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["model"] == "hf-hub:ann/pets"
    again = run("fit", learned, "--model", bundle, *how, "--out", "b.safetensors", "--json")
    assert again.exit_code == 0, again.output
    figures = [{**json.loads(one.stdout), "seconds": 0}["log_loss"] for one in (done, again)]
    assert figures[0] == figures[1]
    assert run("evaluate", "hf-hub:ann/pets", photos("known", first_seed=40, red=4, blue=4)).exit_code == 0
    assert run("fit", learned, "--model", "hf-hub:ann/pets", "--dry-run", *how).exit_code == 0


def test_who_may_not_write_is_told_so(
    run: Run, fails: Fails, bundle: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fails("push", bundle, "ben/pets") == (
        f"error: {bundle} was not uploaded to ben/pets: whom the token belongs to may not write there: name a "
        "repository of yours, or take a token that may write. Nothing was committed.\n"
    )
    hub.repositories["ben/pets"] = Repository()
    assert "whom the token belongs to may not write there" in fails("push", bundle, "ben/pets")
    assert hub.repositories["ben/pets"].files == {}
    monkeypatch.setenv("HF_TOKEN", "hf_unknown")
    assert fails("push", bundle, "ann/pets") == (
        f"error: {bundle} was not uploaded to ann/pets: the hub does not know the token: log in again (hf auth login). "
        "Nothing was committed.\n"
    )
    monkeypatch.delenv("HF_TOKEN")
    assert fails("push", bundle, "ann/pets").startswith(
        "error: nobody is logged in to the Hugging Face hub: run `hf auth login`, or set HF_TOKEN to a token that may "
    )
    assert "ann/pets" not in hub.repositories


def test_private_is_private(run: Run, fails: Fails, bundle: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    done = run("push", bundle, "ann/secret", "--private", "--json")
    assert json.loads(done.stdout) == {
        "repository": "ann/secret",
        "url": f"{hub.address}/ann/secret",
        "commit": hub.repositories["ann/secret"].commits[-1][0],
        "private": True,
    }
    assert "those whom you let in can use it" in done.stderr
    hub.repositories["ann/open"] = Repository()
    assert fails("push", bundle, "ann/open", "--private").startswith(
        "error: ann/open is there already, and everybody can read it: --private makes a new one private. "
    )
    monkeypatch.setenv("HF_TOKEN", "hf_ben")
    assert fails("predict", "hf-hub:ann/secret", bundle.parent / "learned") == (
        "error: hf-hub:ann/secret: the classifier cannot be downloaded, and is not on this machine (the hub has no "
        "such repository, or it is private and nobody is logged in who may read it: hf auth login). Check the name and "
        "the connection, or name the file of a classifier.\n"
    )


@pytest.mark.parametrize("name", ["pets", "datasets/ann/pets", "ann/pets@main", "ann/..", "ann/a b", "/", "ann--b/c"])
def test_what_is_no_repository(name: str, fails: Fails, bundle: Path, hub: Hub) -> None:
    message = fails("push", bundle, name)
    assert message.startswith("error: a repository of the hub is named owner/name, of letters, digits, ")
    assert message.endswith(f"Got {name!r}.\n")
    assert hub.asked == []


def test_what_holds_no_classifier(fails: Fails, bundle: Path, hub: Hub) -> None:
    learned = bundle.parent / "learned"
    hub.repositories["ann/notes"] = Repository()
    hub.repositories["ann/notes"].commit({"README.md": b"# Notes"})
    assert fails("predict", "hf-hub:ann/notes", learned) == (
        "error: hf-hub:ann/notes holds no classifier of regraft: the repository has no classifier.safetensors, which "
        "`regraft push` writes. Name another.\n"
    )
    assert "the repository has no such revision" in fails("predict", "hf-hub:ann/notes@v2", learned)
    assert fails("predict", "hf-hub:a/b/c", learned).startswith(
        "error: hf-hub:a/b/c: after hf-hub: stands a repository"
    )


@pytest.mark.slow
def test_a_card_that_was_changed_on_the_hub_stays(run: Run, fails: Fails, bundle: Path, hub: Hub) -> None:
    assert run("push", bundle, "ann/pets").exit_code == 0
    assert run("push", bundle, "ann/pets").exit_code == 0
    repository = hub.repositories["ann/pets"]
    written = repository.files["README.md"]
    repository.commit({"README.md": written.replace(b"# pets", b"# My pets")})
    message = fails("push", bundle, "ann/pets")
    assert message.startswith(
        "error: README.md of ann/pets was changed on the hub, or not written by regraft, and would"
    )
    assert message.endswith("a card of yours (--readme FILE.md), and replace it: --force.\n")
    assert run("push", bundle, "ann/pets", "--force").exit_code == 0
    assert repository.files["README.md"] == written


@pytest.mark.slow
def test_a_card_of_ones_own_is_pushed(run: Run, fails: Fails, bundle: Path, hub: Hub) -> None:
    assert run("card", bundle).exit_code == 0
    beside = bundle.with_suffix(".md")
    beside.write_text(beside.read_text().replace("## Limits", "## Limits\n\nNever of cats at night."))
    done = run("push", bundle, "ann/pets")
    assert f"card: {beside}" in done.stderr
    repository = hub.repositories["ann/pets"]
    assert b"Never of cats at night." in repository.files["README.md"]
    assert run("push", bundle, "ann/pets").exit_code == 0  # as it was pushed
    beside.write_text("# Cats")
    assert "was not written by regraft, and is left here" in run("push", bundle, "ann/pets").stderr
    assert b"Never of cats at night." not in repository.files["README.md"]
    assert run("push", bundle, "ann/pets", "--readme", beside).exit_code == 0
    assert repository.files["README.md"].startswith(b"# Cats\n\n<!-- regraft card: classifier ")
    beside.write_text("---\nlicense: bogus\n---\n# Cats")
    assert 'the hub refuses the card: "license" must be one of [apache-2.0, mit].' in fails(
        "push", bundle, "ann/pets", "--readme", beside
    )
    beside.write_text("---\n- a\n---\n# Cats")
    assert "the hub cannot read its front matter" in fails("push", bundle, "ann/pets", "--readme", beside)


def test_a_damaged_file_is_not_pushed(fails: Fails, bundle: Path, hub: Hub) -> None:
    bundle.write_bytes(bundle.read_bytes()[:-100])
    assert "damaged" in fails("push", bundle, "ann/pets")
    assert hub.asked == []
