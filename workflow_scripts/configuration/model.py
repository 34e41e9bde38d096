"""What the models of all configuration files share: strictness, names, numbers, shapes."""

from difflib import get_close_matches
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

# Names become parts of paths and labels `name~key`.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Index = Annotated[int, Field(ge=0)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def _distinct_names(classes: tuple[str, ...]) -> tuple[str, ...]:
    # A class that stands twice would let one record vote twice.
    if len(set(classes)) < len(classes):
        raise ValueError(f"a class stands there twice: {list(classes)}")
    for name in classes:
        if name in ("", ".", "..") or "/" in name:
            raise ValueError(f"found {name!r}; allowed: names without '/', not empty, '.' or '..'")
    return classes


Classes = Annotated[tuple[str, ...], Field(min_length=2), AfterValidator(_distinct_names)]


class Model(BaseModel):
    """Strict and immutable: no unknown keys, no strings for numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        known = [field.alias or name for name, field in cls.model_fields.items()]
        for key in data:
            if key not in known:
                near = get_close_matches(str(key), known, n=1)
                hint = f" (did you mean {near[0]}?)" if near else ""
                raise ValueError(f"unknown key {key!r}; allowed: {', '.join(known)}{hint}")
        return data


class ImageShape(Model):
    """Height = width in pixels, and 1 (grey) or 3 (RGB) channels."""

    size: Count
    channels: Literal[1, 3]

    def __str__(self) -> str:
        return f"{self.size}×{self.size}×{self.channels}"


class Degree(NamedTuple):
    """What a degree of VARIATION may be: `low` ≤ value ≤ `high`, `low` excluded if `above`."""

    low: float = 0
    high: float | None = None
    whole: bool = False
    above: bool = False
    optional: bool = False

    def problem(self, value: float) -> str | None:
        """What is allowed instead of `value`, None if it is fine."""
        if self.above and value <= self.low:
            return f"above {self.low:g}"
        if value < self.low:
            return f"at least {self.low:g}"
        if self.high is not None and value > self.high:
            return f"at most {self.high:g}"
        if self.whole and value != int(value):
            return "whole numbers"
        return None
