"""YAML into models, and one message that names file, key, what was found and what is allowed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from workflow_scripts.problems import Problem


class ConfigurationProblem(Problem):
    """The configuration cannot be used; the message says where and why."""


# LibYAML's is ten times faster; not every build of PyYAML has it.
SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class UniqueKeyLoader(SafeLoader):
    """YAML in which a key that stands twice is an error, not silently the last one."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} stands there twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML file whose top level is a mapping."""
    try:
        with open(path, encoding="utf-8") as file:
            # A subclass of SafeLoader: it constructs plain types only.
            content = yaml.load(file, Loader=UniqueKeyLoader)  # noqa: S506
    except FileNotFoundError:
        raise ConfigurationProblem(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise ConfigurationProblem(f"{path}: not UTF-8 text ({error})") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "cannot be read"
        raise ConfigurationProblem(f"{path}{where}: not valid YAML: {problem}") from None
    if not isinstance(content, dict):
        raise ConfigurationProblem(
            f"{path}: found {type(content).__name__} at the top level; allowed: keys and values"
        )
    return content


def validate(model: Any, content: Any, source: str, prefix: tuple[str, ...] = ()) -> Any:
    """`content` as `model`, or a `ConfigurationProblem` that lists what is wrong in `source`."""
    content = _frozen(content)
    try:
        return TypeAdapter(model).validate_python(content)
    except ValidationError as error:
        problems: dict[str, list[str]] = {}
        for item in error.errors():
            key, problem = _explain(item, content)
            problems.setdefault(".".join((*prefix, *key)) or "top level", []).append(problem)
        # A union reports each of its members: one line a place, with all that it allows.
        lines = [
            f"{source}, {key}: {' or '.join(dict.fromkeys(found))}"
            for key, found in problems.items()
        ]
        raise ConfigurationProblem("\n".join(lines)) from None


def _frozen(content: Any) -> Any:
    """YAML knows lists only; strict mode wants the tuples that immutable models hold."""
    if isinstance(content, Mapping):
        return {key: _frozen(value) for key, value in content.items()}
    if isinstance(content, list):
        return tuple(map(_frozen, content))
    return content


def _explain(item: Mapping, content: Any) -> tuple[list[str], str]:
    """The place of a pydantic error, as one follows it in the file, and what is wrong there."""
    place, value = [], content
    for part in item["loc"]:
        # The location also names members of unions, which the file does not.
        if (isinstance(value, Mapping) and part in value) or (
            isinstance(value, tuple) and isinstance(part, int) and part < len(value)
        ):
            value = value[part]
        elif item["type"] != "missing" or part != item["loc"][-1]:
            continue
        place.append(str(part))
    message = item["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    message = message.replace("a valid tuple", "a list")
    match item["type"]:
        case "missing":
            return place, "missing; a value is required here"
        case "value_error":
            # A check over several keys names the one that it is about.
            key, _, rest = message.partition(": ")
            if isinstance(value, Mapping) and key in value:
                return [*place, key], rest
            return place, message
        case "union_tag_invalid":
            tag = item["ctx"]["discriminator"].strip("'")
            allowed = item["ctx"]["expected_tags"]
            return [*place, tag], f"found {item['ctx']['tag']!r}; allowed: {allowed}"
        case "union_tag_not_found":
            tag = item["ctx"]["discriminator"].strip("'")
            return [*place, tag], "missing; a value is required here"
    return place, f"found {_shown(value)}; allowed: {message}"


def _shown(value: Any) -> str:
    text = repr(list(value) if isinstance(value, tuple) else value)
    return text if len(text) <= 100 else text[:97] + "..."
