"""Which networks a user named, and what becomes of several: joined, or one of them chosen. Imports no torch."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regraft.errors import ModelError, OptionError, WeightsError, option, printable

AUTO = "auto"  # in a network's place: one of several is to be chosen
_AND = " + "  # between the names of networks that are joined
LOCAL_PREFIX = "local-dir:"
POCKET = "pocket"  # the fastest, of 64 pixels; 9 MB inside this package
OFFLINE = "efficientnet-lite0"  # what is taken where nothing can be downloaded
ALIASES = {"offline": OFFLINE}
HUB_PREFIXES = ("hf-hub:", "hf_hub:")  # of repositories of the Hugging Face hub


@dataclass(frozen=True)
class NetworkNames:
    """The networks that a user named.

    Attributes:
        names: without "auto"; none where the default ones are meant.
        choose: whether one of them is to be chosen; else several are joined.
    """

    names: tuple[Any, ...] = ()
    choose: bool = False

    @property
    def joined(self) -> bool:
        """Whether the features of several are joined."""
        return len(self.names) > 1 and not self.choose

    @property
    def in_words(self) -> str:
        """Return what to call them; "" where a default one is meant."""
        return f"{AUTO} ({', '.join(self.names)})" if self.choose and self.names else self.title

    @property
    def title(self) -> str:
        """Return the name of the network of a classifier: "A + B" where several are joined."""
        return AUTO if self.choose else joined_name(self.names)

    def check(self, *, weights: bool) -> None:
        """Raise `OptionError` for a choice from one network, one that is named twice, or one file for several.

        Args:
            weights: whether a file of weights is given.
        """
        named, count = option("model"), len(self.names)
        twice = _named_twice(self.names)
        if twice:
            raise OptionError(f"{named} names the same network twice: {printable(twice)}. Name each network once.")
        if self.choose and count == 1:
            raise OptionError(
                f"{option('model', AUTO)} chooses one of several networks. Got one, {printable(self.names[0])}. Leave "
                f"{AUTO} out to take it, name more, or leave it out to choose from networks that people start from."
            )
        if weights and not count and not self.choose:
            raise OptionError(f"{option('weights')} is a file of one network: name it with {named}.")
        if weights and (self.choose or count > 1):
            got = f"{option('model', AUTO)}" if self.choose else f"{count} networks ({named})"
            raise OptionError(
                f"{option('weights')} is a file of one network. Got {got}. Leave {option('weights')} out, or name one "
                "network."
            )


def read_names(named: Any) -> NetworkNames:
    """Return the networks that a user named: None, one name, or several, "auto" among them.

    >>> read_names(None), read_names("resnet18").names, read_names(["auto", "a", "b"])
    (NetworkNames(names=(), choose=False), ('resnet18',), NetworkNames(names=('a', 'b'), choose=True))

    Raises:
        ModelError: an empty list.
    """
    if named is None:
        return NetworkNames()
    listed = list(named) if isinstance(named, Iterable) and not isinstance(named, (str, bytes)) else [named]
    if not listed:
        raise ModelError(f"{option('model')} names no network. Name one or several, or leave it out.")
    names = tuple(name for name in listed if name != AUTO)
    return NetworkNames(names, choose=len(names) < len(listed))


def joined_name(names: Sequence[str]) -> str:
    """Return how a classifier calls networks whose features it joins.

    >>> joined_name(["resnet18", "pocket"]), joined_name(["pocket"])
    ('resnet18 + pocket', 'pocket')
    """
    return _AND.join(names)


def parts_of_name(name: str, count: int) -> list[str]:
    """Return the names of `count` networks that `joined_name` made one of.

    >>> parts_of_name("resnet18 + pocket", 2), parts_of_name("local-dir:a + b", 1)
    (['resnet18', 'pocket'], ['local-dir:a + b'])
    """
    parts = name.split(_AND) if count > 1 else [name]
    return parts if len(parts) == count else [f"{name}, network {number}" for number in range(1, count + 1)]


def is_on_hub(name: str) -> bool:
    """Tell whether a name is that of a repository of the hub, which may hold a network or a classifier.

    >>> is_on_hub("hf-hub:owner/name"), is_on_hub("resnet18")
    (True, False)
    """
    return name.startswith(HUB_PREFIXES)


def files_of_network(name: str) -> list[Path]:
    """Return the files in the folder of a `local-dir:` network; none of any other, and none where there is no folder.

    >>> files_of_network("resnet18")
    []
    """
    if not name.startswith(LOCAL_PREFIX):
        return []
    try:
        return sorted(Path(name.removeprefix(LOCAL_PREFIX)).iterdir())
    except (OSError, ValueError):  # that is said where it is read
        return []


def _named_twice(names: Sequence[Any]) -> str:
    """Return the first name that stands for the same network as one before it, "" for none."""
    known: set[str] = set()
    for name in map(str, names):
        folder = name.removeprefix(LOCAL_PREFIX)
        same = name if folder == name else str(Path(folder).resolve())
        if same in known:
            return name
        known.add(same)
    return ""


def without_folders(name: str) -> str:
    """Return the name of a network or a weights file without its folder on this machine.

    >>> without_folders("local-dir:/home/ann/networks/small"), without_folders("hf-hub:timm/resnet18.a1_in1k")
    ('local-dir:small', 'hf-hub:timm/resnet18.a1_in1k')
    """
    prefix, separator, path = name.partition(":")
    if separator and len(prefix) > 1 and prefix != "local-dir":  # one letter is a drive of Windows
        return name  # on the hub, or an address
    return f"{prefix}:{Path(path).name}" if prefix == "local-dir" else Path(name).name


def own_name(model: str) -> str:
    """Return a network's own name: that which `model` stands for, or `model` itself."""
    return ALIASES.get(model, model)


def local_weights(model: str, folder: Path) -> Path:
    """Return the weights file of a timm `local-dir:` folder.

    Raises:
        WeightsError: there is none, or several and none has the usual name.
    """
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).is_file():
            return folder / name
    files = [file for file in sorted(folder.iterdir()) if file.suffix in (".safetensors", ".pth", ".pt", ".bin")]
    if len(files) != 1:
        found = ", ".join(file.name for file in files) or "none"
        raise WeightsError(f"{model}: expected model.safetensors in {folder}. Weights files found: {found}.")
    return files[0]
