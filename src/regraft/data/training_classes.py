"""Photos whose classes lie in a tree: labels to training classes of a maximum size."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from regraft.data.samples import Samples, clean_name, natural_order
from regraft.data.taxonomy import Taxonomy
from regraft.data.taxonomy_file import read_taxonomy
from regraft.errors import DataError, OptionError, first_few, option
from regraft.options import check_settings, setting, whole_number

_CLASSES_SHOWN, _LABELS_SHOWN = 20, 4


@dataclass(frozen=True)
class TaxonomyOptions:
    """The tree that classes lie in; the command line's options are made from these fields.

    Attributes:
        taxonomy: a file that `read_taxonomy` reads; None: no tree is known.
        max_class_size: photos of a training class; None: labels stay the classes.
    """

    taxonomy: Path | None = setting(
        None,
        help="Tree of the classes: a YAML file of names in names, or a CSV table of child,parent.",
        allowed="a file",
        check=lambda file: isinstance(file, str | os.PathLike),
    )
    max_class_size: int | None = setting(
        None,
        help="Of a taxonomy: learn nodes of the tree with at most so many photos as one class. [default: labels are "
        "the classes]",
        allowed="a whole number from 1",
        check=lambda value: whole_number(value, 1),
        low=1,
    )

    def apply(
        self, splits: Mapping[str, Samples], order: Callable[[Iterable[str]], Sequence[str]] = natural_order
    ) -> dict[str, Samples]:
        """Return splits whose classes are the training classes in the tree; as they are where there is none.

        Args:
            splits: "train", whose photos are counted, and others.
            order: of classes that the labels are not.

        Raises:
            OptionError: a maximum without a tree.
            DataError: a tree that cannot be used, or labels that are not in it.
        """
        check_settings(self)
        if self.taxonomy is None:
            if self.max_class_size is not None:
                raise OptionError(
                    f"{option('max_class_size')} goes with {option('taxonomy')}, the tree of the classes."
                )
            return dict(splits)
        tree, notes = read_taxonomy(Path(self.taxonomy).expanduser())
        labels = {clean_name(name): count for name, count in splits["train"].counts().items()}
        tree.check_labels(labels, splits["train"].where)
        names = {label: label for label in labels}
        if self.max_class_size is not None:
            names |= tree.training_classes(labels, self.max_class_size)
            notes.append(_in_words(names, labels, self.max_class_size))
        same = set(names.values()) == set(labels)
        classes = list(labels) if same else list(order(set(names.values())))
        if len(classes) < 2:
            raise DataError(
                f"{option('max_class_size')} {self.max_class_size:,} leaves one class, {classes[0]!r}. Name a smaller "
                "one, or leave it out."
            )
        return {
            split: replace(
                _renamed(part, tree, classes, names),
                taxonomy=tree,
                notes=(*part.notes, *notes) if split == "train" else part.notes,
            )
            for split, part in splits.items()
        }


def _renamed(samples: Samples, tree: Taxonomy, classes: Sequence[str], names: Mapping[str, str]) -> Samples:
    """Return photos by their training classes; a label that was not learned from belongs to the class above it."""
    known = set(classes)
    own = {name: clean_name(name) for name in samples.classes}
    new = {name: names.get(one) or tree.nearest_class(one, known) or one for name, one in own.items()}
    others = [name for name in dict.fromkeys(new.values()) if name not in known]
    return samples.renamed(new, [*classes, *others])


def _in_words(names: Mapping[str, str], counts: Mapping[str, int], most: int) -> str:
    members: dict[str, list[str]] = {}
    for label, name in names.items():
        members.setdefault(name, []).append(label)
    joined = {name: labels for name, labels in members.items() if labels != [name]}
    size = f"at most {most:,} photos, where the tree allows it"
    if not joined:
        return f"taxonomy: no labels can be joined into training classes of {size}"
    lines = [
        f"{name} ({sum(counts[label] for label in labels):,} photos of {first_few(labels, _LABELS_SHOWN)})"
        for name, labels in joined.items()
    ]
    return (
        f"taxonomy: {len(names):,} labels are learned as {len(members):,} training classes of {size}; joined: "
        f"{'; '.join(lines[:_CLASSES_SHOWN])}"
        + (f"; and {len(lines) - _CLASSES_SHOWN:,} more" if len(lines) > _CLASSES_SHOWN else "")
    )
