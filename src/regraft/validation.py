"""Plain JSON types checked against types with bounds: the bounds that several descriptions share, and the check."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

Number = Annotated[float, Meta(ge=-1e300, le=1e300)]
Count = Annotated[int, Meta(ge=0)]
ROUNDING = 1e-6  # by which a figure may exceed its limits
Fraction = Annotated[float, Meta(ge=-ROUNDING, le=1 + ROUNDING)]
Bounds = tuple[Number, Number] | None


def json_fields(one: object) -> dict[str, Any]:
    """Return the fields of an object in plain JSON types, of which it has pairs alone that are none: they are lists."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(one).items()}


def convert(data: Any, kind: Any) -> Any:
    """Return plain JSON types as `kind`, a type that msgspec knows.

    Raises:
        ValueError: they do not fit; the text names the field, what is allowed and what was found.
    """
    try:
        return msgspec.convert(data, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        raise ValueError(str(error) or type(error).__name__) from None
