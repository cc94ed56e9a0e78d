"""The kinds of heads that a classifier may have, by the name that its file keeps. A new kind is one more row."""

from regraft.heads.linear import Head, LinearHead

HEADS: dict[str, type[Head]] = {kind.kind: kind for kind in (LinearHead,)}
