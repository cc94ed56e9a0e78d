"""What is said where tensors are not those of a network. Imports no torch."""

from collections.abc import Sequence

from regraft.errors import option, shortlist


def mismatched_tensors(missing: Sequence[str], extra: Sequence[str], others: Sequence[str]) -> str:
    """Return what is wrong with the tensors of a file, each kind of mistake on lines of its own; "" for nothing.

    Args:
        missing: names of the network that the file lacks.
        extra: names of the file that the network lacks.
        others: names with what the file has and what the network has.
    """
    kinds = (("missing", missing), ("extra", extra), ("of another shape", others))
    return "\n".join(f"{len(names)} tensors {what}:\n{shortlist(names, 10)}" for what, names in kinds if names)


def describe_mismatch(found: str, architecture: str, source: str) -> str:
    """Return the message for weights that do not fit; `found` says in what."""
    return (
        f"{source} holds weights of another architecture than {architecture}. {found}\n"
        f"Name the network that the file belongs to with {option('model')}, or the file that belongs to "
        f"{architecture}."
    )
