"""The Dockerfile, without Docker: its commands are those that the documents give, and nothing runs as root."""

import json
import re
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).parents[1]


def instructions() -> list[tuple[str, str]]:
    """Return the instructions of the Dockerfile and their arguments, in order."""
    text = re.sub(r"^#.*\n", "", (REPOSITORY / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.partition(" ")[0], line.partition(" ")[2].strip()) for line in text.splitlines() if line.strip()]


def stages() -> dict[str, tuple[str, list[tuple[str, str]]]]:
    """Return by the name of each stage what it starts from, and its instructions."""
    found: dict[str, tuple[str, list[tuple[str, str]]]] = {}
    for word, argument in instructions():
        if word == "FROM":
            start, _, name = argument.partition(" AS ")
            found[name] = (start, [])
        else:
            list(found.values())[-1][1].append((word, argument))
    return found


def all_of(stage: str) -> list[tuple[str, str]]:
    """Return the instructions of a stage after those of what it starts from."""
    start, own = stages()[stage]
    return own if start not in stages() else all_of(start) + own


def commands(text: str) -> set[str]:
    """Return what is typed to install: the lines of blocks and what stands between backquotes."""
    blocks = "\n".join(re.findall(r"```bash\n(.*?)```", text, re.DOTALL))
    lines = {line.partition(" #")[0].strip() for line in blocks.splitlines()}
    return {line for line in lines | set(re.findall(r"`([^`\n]+)`", text)) if line.startswith("pip install")}


def test_it_installs_by_the_commands_of_the_documents() -> None:
    given = commands((REPOSITORY / "docs" / "install.md").read_text())
    typed = {
        name: [text for word, text in all_of(name) if word == "RUN" and "pip install" in text] for name in stages()
    }
    assert typed["runtime-packages"] == ["pip install ."]
    assert typed["serve-packages"] == ["pip install '.[serve]'"]
    assert set(typed["serve-packages"]) <= given
    assert typed["train-packages"] == [
        "pip install torch torchvision --index-url https://download.pytorch.org/whl/cpu",
        "pip install '.[train]'",
    ]
    assert set(typed["train-packages"]) <= given
    assert "pip install regraft" in given  # of which the folder's "." is the same


def test_the_last_image_is_the_light_one_and_the_other_has_a_name() -> None:
    assert list(stages())[-2:] == ["train", "runtime"]
    names = ("train", "serve", "runtime")
    copied = {name: [text for word, text in stages()[name][1] if word == "COPY"] for name in names}
    assert copied == {name: [f"--from={name}-packages /opt/regraft /opt/regraft"] for name in names}


def test_images_start_the_command_as_no_root() -> None:
    for name in ("train", "serve", "runtime"):
        last = dict(all_of(name))  # of each instruction
        assert last["USER"] == "1000"
        assert last["ENTRYPOINT"] == '["regraft"]'
        assert last["WORKDIR"] == "/work"
        assert last["VOLUME"] == "/cache"
        assert "HOME=/cache" in last["ENV"]


def test_images_hold_no_cache_of_pip_and_no_source() -> None:
    """What is copied into them is the environment, which a pip without a cache filled in another stage."""
    assert "PIP_NO_CACHE_DIR=1" in dict(all_of("train-packages"))["ENV"]
    assert "PIP_NO_CACHE_DIR=1" in dict(all_of("runtime-packages"))["ENV"]
    assert not any(word in ("COPY", "ADD") for word, _ in all_of("base"))


def test_docker_sees_what_the_package_is_made_of_and_nothing_else() -> None:
    lines = [line for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    assert {line.removeprefix("!") for line in lines if line.startswith("!")} == {
        "LICENSE",
        "README.md",
        "pyproject.toml",
        "src",
    }
    assert set(lines[-2:]) == {"**/__pycache__", "**/*.pyc"}  # the last line that fits a path decides


def test_the_documents_build_the_stages_that_there_are() -> None:
    text = (REPOSITORY / "docs" / "install.md").read_text()
    assert re.findall(r"^docker build .*--target (\w+)", text, re.MULTILINE) == ["serve", "train"]


def test_what_compose_starts_is_the_image_that_serves() -> None:
    (service,) = yaml.safe_load((REPOSITORY / "compose.yaml").read_text())["services"].values()
    assert service["build"]["target"] in stages()
    assert service["ports"] == ["127.0.0.1:8000:8000"]  # this machine alone
    last = dict(all_of("serve"))
    assert last["EXPOSE"] == "8000"
    name, *arguments = json.loads(last["CMD"])
    assert (name, arguments[1:]) == ("serve", ["--host", "0.0.0.0"])
    assert arguments[0].startswith(service["volumes"][0].split(":")[1] + "/")
