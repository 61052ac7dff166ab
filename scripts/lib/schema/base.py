"""What all configuration models share: strict fields, axes of a grid, safe names."""

from collections.abc import Iterable
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic.functional_validators import AfterValidator
from pydantic_core import PydanticCustomError

T = TypeVar("T")


class StrictModel(BaseModel):
    """A model that refuses unknown keys and does not convert types (`"4"` and `true` are no 4)."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, validate_default=True, allow_inf_nan=False
    )


class _AxisSchema:
    """JSON schema of an axis: one value, or a list of them."""

    @staticmethod
    def __get_pydantic_json_schema__(core_schema: Any, handler: Any) -> dict[str, Any]:
        array = handler(core_schema)
        return {"anyOf": [array["items"], array]}


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def no_repeats(values: list[T]) -> list[T]:
    """Refuse a list with a value that stands twice (ValueError, for validators)."""
    seen = set()
    for value in values:
        if value in seen:
            raise ValueError(f"{value!r} stands twice")
        seen.add(value)
    return values


# One value or a list of them; the runs of a sweep are the product of its axes.
Axis = Annotated[
    list[T],
    Field(min_length=1),
    BeforeValidator(_as_list),
    AfterValidator(no_repeats),
    _AxisSchema,
]

# Names become parts of file names below results/, hence the narrow alphabet.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,39}$", min_length=1)]


def _printable(text: str) -> str:
    if not text or not text.isprintable() or text != text.strip():
        raise ValueError(f"must be text on one line without spaces at its ends, got {text[:40]!r}")
    return text


# Text that stands in messages, tables and job names.
Text = Annotated[str, AfterValidator(_printable)]


def problem_at(keys: tuple[str | int, ...], message: str) -> PydanticCustomError:
    """Return the error to raise for a problem that a validator found below its own place."""
    escaped = message.replace("{", "{{").replace("}", "}}")
    return PydanticCustomError("problem_at", escaped, {"keys": keys})


def refuse_given(data: BaseModel, names: Iterable[str], reason: str) -> None:
    """Refuse settings that differ from their defaults where they would have no effect."""
    for name in names:
        if getattr(data, name) != type(data).model_fields[name].default:
            raise problem_at((name,), f"has no effect {reason}")
