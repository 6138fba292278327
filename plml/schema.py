"""From a constructor's signature to a strict, frozen pydantic model, and from pydantic's errors to ours.

A method, an observation mechanism or a data set declares its options once, as keyword-only arguments with
defaults. Everything else (YAML, command line, search spaces) is checked against that signature.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from plml.errors import ConfigError, nearest

# What pydantic adds to the place of a value that may be of several kinds: the kind that it was held against.
_KIND = re.compile(r"literal\[.*\]|constrained-\w+|int|float|str|bool|function-\w+\[.*\]|(list|dict|tuple)\[.*\]")
M = TypeVar("M", bound=BaseModel)


class Strict(BaseModel):
    """Base of every configuration part: frozen, no unknown key, no silent type conversion."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def keyword_options(target: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the keyword-only parameters of ``target``, in order, without ``compat`` (the whole run has one)."""
    parameters = inspect.signature(target).parameters.values()
    return {p.name: p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY and p.name != "compat"}


@cache
def options_model(target: Callable[..., Any], name: str) -> type[Strict]:
    """Build the strict model of ``target``'s keyword-only arguments; the defaults stay where they are written."""
    function = target.__init__ if inspect.isclass(target) else target
    hints = get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}
    for key, parameter in keyword_options(target).items():
        default = ... if parameter.default is inspect.Parameter.empty else parameter.default
        fields[key] = (hints[key], default)
    return create_model(name, __base__=Strict, **fields)


def validate(model: type[M], values: Any, path: str = "", source: str = "") -> M:
    """Validate ``values``; raise ConfigError naming every path, the rule, the value and the nearest name.

    Args:
        model: the pydantic model.
        values: what the user wrote.
        path: where ``values`` stands, as a dotted prefix.
        source: the file, for the head of the message.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{source + ': ' if source else ''}{path or 'the file'} must be a mapping, got {values!r}")
    head = f"{source}: " if source else ""
    try:
        return model.model_validate(dict(values))
    except ConfigError as error:  # of a part that is checked by itself
        raise ConfigError(head + ("\n" + head).join(str(error).splitlines())) from None
    except ValidationError as error:
        lines = [_line(model, item, path) for item in _of_unions(error.errors(include_url=False))]
        raise ConfigError(head + ("\n" + head).join(dict.fromkeys(lines))) from None


def _of_unions(items: list[Any]) -> list[Any]:
    """Make one error of those of a value that may be of several kinds, of which pydantic tells each by itself."""
    found: dict[tuple[Any, ...], Any] = {}
    for item in items:
        place = item["loc"]
        if item["type"] not in ("extra_forbidden", "missing"):  # the key itself, which may be called like a kind
            while place and isinstance(place[-1], str) and _KIND.fullmatch(place[-1]):
                place = place[:-1]
        if place == item["loc"]:
            found[(*place, len(found))] = item
        elif place in found:
            found[place]["msg"] += " or " + item["msg"].removeprefix("Input should be ")
        else:
            found[place] = {**item, "loc": place, "type": "union"}
    return list(found.values())


def check_keys(model: type[BaseModel], tree: Mapping[str, Any], path: str = "") -> None:
    """Raise ConfigError for a key of ``tree`` that ``model`` does not have; look at keys only, however deep.

    Validation finds them too, but it imports what a method's name stands for; this answers at once.
    """
    for key, value in tree.items():
        dotted = f"{path}.{key}" if path else key
        if key not in model.model_fields:
            raise ConfigError(_line(model, {"type": "extra_forbidden", "loc": (key,)}, path))
        parts = _models_in(model.model_fields[key].annotation)
        if parts and isinstance(value, Mapping):
            check_keys(parts[0], value, dotted)


def _line(model: type[BaseModel], item: Any, prefix: str) -> str:
    """One sentence for one pydantic error."""
    location = [str(part) for part in item["loc"]]
    dotted = ".".join([*([prefix] if prefix else []), *location])
    got = item.get("input")
    if item["type"] == "extra_forbidden":
        owner = _owner(model, location[:-1])
        parent = dotted.rpartition(".")[0]
        hint = nearest(location[-1], owner.model_fields) if owner else ""
        hint = re.sub(r"'(\w+)'\?$", lambda m: f"'{parent + '.' if parent else ''}{m[1]}'?", hint)
        if owner and not owner.model_fields:
            hint = f"; '{owner.__name__.removesuffix('_options')}' has no options"
        return f"unknown key '{dotted}'{hint}"
    if item["type"] == "missing":
        return f"'{dotted}' is required"
    if item["type"] in ("model_type", "dict_type"):
        owner = _owner(model, location)
        keys = f" of {', '.join(owner.model_fields)}" if owner else ""
        return f"{dotted} must be a mapping{keys}, got {got!r}"
    rule = item["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    rule = rule.replace("a valid integer", "an integer").replace("a valid ", "a ")
    if item["type"] == "value_error":
        return f"{dotted}: {rule}" if dotted else rule
    hint = ""
    if item["type"] == "literal_error" and isinstance(got, str):
        hint = nearest(got, re.findall(r"'([^']*)'", item["ctx"]["expected"]))
    if amount := re.fullmatch(r"\w+ should have (at (?:least|most) .*?)(?: after validation, not \d+)?", rule):
        return f"{dotted} must have {amount[1]}, got {got!r}"
    return f"{dotted} must be {rule}, got {got!r}{hint}"


def _owner(model: type[BaseModel], location: list[str]) -> type[BaseModel] | None:
    """Return the model that owns the last part of ``location``, following nested models."""
    owner: type[BaseModel] | None = model
    for part in location:
        if owner is None or part not in owner.model_fields:
            return None
        candidates = _models_in(owner.model_fields[part].annotation)
        owner = candidates[0] if candidates else None
    return owner


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _models_in(part)]


_MAX_NODES = 100_000  # of a file; ten lines with references to one another can stand for more than any memory holds


class _Loader(yaml.SafeLoader):
    """Safe YAML in which 1e-4 is a number, only true/false are booleans, and a key may stand once."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":float", ":bool", ":timestamp"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|false|False)$"), list("tTfF"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:(?:\d+\.\d*|\.\d+)(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+)$|^[-+]?\.(?:inf|Inf)$|^\.(?:nan|NaN)$"),
    list("-+0123456789."),
)


def _unique_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    loader.flatten_mapping(node)
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    for position, key in enumerate(keys):
        if not isinstance(key, str):
            raise ConfigError(f"line {node.value[position][0].start_mark.line + 1}: key {key!r} must be text; quote it")
        if key in keys[:position]:
            raise ConfigError(f"line {node.value[position][0].start_mark.line + 1}: key '{key}' stands twice")
    return {key: loader.construct_object(value, deep=True) for key, (_, value) in zip(keys, node.value, strict=True)}


_Loader.add_constructor("tag:yaml.org,2002:map", _unique_mapping)


if yaml.__with_libyaml__:

    class _QuickLoader(yaml.CSafeLoader):
        """As :class:`_Loader`, nine times as fast; its own stack overflows where files are nested very deeply."""

    _QuickLoader.yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers
    _QuickLoader.yaml_constructors = _Loader.yaml_constructors

_SHORT = 4096  # characters; deeper than that, which the quick loader survives, they cannot be nested


def _size(node: yaml.Node, known: dict[int, int | None]) -> int:
    """Return how many nodes there are when every reference is followed; raise ConfigError if there is no end."""
    place = id(node)
    if place not in known:
        known[place] = None
        parts = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
        known[place] = 1 + sum(_size(part, known) for part in parts) if isinstance(parts, list) else 1
    size = known[place]
    if size is None:
        raise ConfigError(f"line {node.start_mark.line + 1}: holds itself")
    return size


def _load(kind: Callable[[str], Any], text: str) -> Any:
    loader = kind(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _size(node, {}) > _MAX_NODES:
            raise ConfigError(f"says more than {_MAX_NODES:,} things, by repeating itself")
        return loader.construct_document(node)
    finally:
        loader.dispose()


def read_yaml(text: str, source: str = "") -> Any:
    """Parse YAML text safely (no object construction); raise ConfigError naming ``source`` and the line."""
    head = f"{source}: " if source else ""
    try:
        if yaml.__with_libyaml__ and len(text) <= _SHORT and "\t" not in text and "\ufeff" not in text:
            with suppress(yaml.YAMLError):  # the other one says better what is wrong, and is stricter about tabs
                return _load(_QuickLoader, text)
        return _load(_Loader, text)
    except ConfigError as error:
        raise ConfigError(f"{head}{error}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{head}is not valid YAML: {' '.join(str(error).split())}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{head}is not valid YAML: {error}") from None
    except (LookupError, AttributeError, TypeError):  # PyYAML, of a value that is not what its tag says
        raise ConfigError(f"{head}is not valid YAML: a value is not of the kind that its tag (!!) names") from None


def read_yaml_file(file: Path) -> Any:
    """Parse a YAML file as :func:`read_yaml` does; raise ConfigError if it cannot be read, too."""
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: is not UTF-8 text ({error.reason} at byte {error.start})") from None
    return read_yaml(text, str(file))


def parse_assignment(text: str) -> tuple[str, Any]:
    """Split ``path=value`` and read the value as YAML; raise ConfigError when there is no '='."""
    path, separator, value = text.partition("=")
    if not separator or not path.strip():
        raise ConfigError(f"'{text}' must be path=value, for example optim.lr=1e-3")
    return path.strip(), read_yaml(value, f"value of '{path.strip()}'")


def assign(tree: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return a copy of the nested mapping ``tree`` with ``value`` at the dotted ``path``."""
    head, _, rest = path.partition(".")
    if not rest:
        return {**tree, head: value}
    branch = tree.get(head, {})
    # `method: role` is short for `method: {name: role}`, so that method.lr_mult can be set on top of it.
    branch = {"name": branch} if isinstance(branch, str) else (branch or {})
    if not isinstance(branch, Mapping):
        raise ConfigError(f"'{path}' cannot be set: '{head}' is {branch!r}, not a mapping")
    return {**tree, head: assign(branch, rest, value)}


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return ``{dotted path: leaf}`` of a nested mapping; lists are leaves."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{path}."))
        else:
            flat[path] = value
    return flat
