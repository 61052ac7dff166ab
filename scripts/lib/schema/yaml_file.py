"""Read a YAML file safely and remember on which line each key stands."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import yaml

from scripts.lib.schema.collector import paused_collector
from scripts.lib.schema.errors import InputError
from scripts.lib.schema.problems import Keys, dotted

_STRING, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"
_MAPPING, _SEQUENCE = "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"

# What a constructor of PyYAML raises for a scalar that its explicit tag does not fit.
_BAD_SCALAR = (ValueError, TypeError, LookupError, AttributeError)


# libyaml where PyYAML was built with it: ten times faster, the same nodes and marks.
class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # by install
    """The safe loader, with a memory for the tags of plain scalars, half of its time."""

    def __init__(self, text: str):
        """Load from `text`."""
        super().__init__(text)
        self._tags: dict[tuple[Any, ...], str] = {}

    def resolve(self, kind: type[yaml.Node], value: str | None, implicit: Any) -> str:
        """Tag of a node that has none of its own."""
        key = (kind, value, implicit)
        if key not in self._tags:
            self._tags[key] = super().resolve(kind, value, implicit)
        return self._tags[key]


@dataclass(frozen=True)
class YamlFile:
    """A YAML mapping with its place of origin.

    `data` is the mapping as plain Python objects. `line_of` finds the line of a key for messages.
    `repeated` has one line for each key that stands twice; the last one's value is in `data`.
    """

    path: str
    data: dict[str, Any]
    repeated: tuple[str, ...]
    _root: yaml.Node
    _children: dict[int, dict[str, tuple[int, yaml.Node]]] = field(default_factory=dict)

    def line_of(self, keys: Keys) -> int:
        """Line (from 1) of the innermost of `keys` that stands in the file."""
        node, line = self._root, self._root.start_mark.line
        for key in keys:
            step = self._step(node, key)
            if step is None:
                break
            line, node = step
        return line + 1

    def place(self, keys: Keys) -> str:
        """`file:line: dotted.key`, the start of every message about `keys`."""
        return f"{self.path}:{self.line_of(keys)}: {dotted(keys) or 'top level'}"

    def _step(self, node: yaml.Node, key: str | int) -> tuple[int, yaml.Node] | None:
        if isinstance(node, yaml.MappingNode):
            if id(node) not in self._children:
                self._children[id(node)] = {
                    key_node.value: (key_node.start_mark.line, value)
                    for key_node, value in node.value
                }
            return self._children[id(node)].get(str(key))
        if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
            return node.value[key].start_mark.line, node.value[key]
        return None


def load_yaml(path: str | Path) -> YamlFile:
    """Read the mapping in the YAML file `path`; the safe loader builds plain objects only.

    Raises InputError when the file cannot be read, is not valid YAML, is not a mapping, or has
    a key that stands twice (YAML's own rule, which most loaders do not check).
    """
    file = read_yaml(path)
    if file.repeated:
        raise InputError(*file.repeated)
    return file


def read_yaml(path: str | Path) -> YamlFile:
    """Read as `load_yaml` does, but leave it to the caller to refuse `repeated` keys.

    So a caller can report them together with what else is wrong in the file.
    """
    text = _text(path)
    try:
        root, data, repeated = _parsed(text)
    except RecursionError:
        raise InputError(f"{path}:1: not valid YAML: nested too deeply") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        problem = getattr(error, "problem", None) or str(error)
        problem = " ".join(problem.split())  # some of PyYAML's messages have several lines
        raise InputError(f"{path}:{line}: not valid YAML: {problem}") from None
    if not isinstance(root, yaml.MappingNode):
        kind = "empty" if root is None else f"a {root.id}"  # type: ignore[attr-defined]  # of scalars and lists
        raise InputError(f"{path}:1: must be a mapping (key: value), but is {kind}")
    twice = (f"{path}:{line}: {dotted(keys)}: this key stands twice" for keys, line in repeated)
    return YamlFile(str(path), data, tuple(twice), root)


def _text(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise InputError(f"{path}: cannot be read: {reason}") from None


@paused_collector()
def _parsed(text: str) -> tuple[yaml.Node | None, Any, list[tuple[Keys, int]]]:
    """Root node, data, and path and line of each key that stands twice."""
    loader = _loader(text)
    try:
        root = loader.get_single_node()
        builder = _Builder(loader)
        data = None if root is None else builder.build(root, ())
        return root, data, sorted(builder.repeated, key=lambda item: item[1])
    finally:
        loader.dispose()


def _loader(text: str) -> yaml.SafeLoader:
    return yaml.SafeLoader(text) if _may_be_deep(text) else _Loader(text)


def _may_be_deep(text: str, limit: int = 500) -> bool:
    """Whether `text` may nest deeper than `limit`: absurd depths overflow the stack of libyaml."""
    depth = deepest = 0
    for bracket in re.findall(r"[\[{\]}]", text):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest > limit or re.search(rf"^[ ?:-]{{{limit}}}", text, re.MULTILINE) is not None


def _no_yaml(problem: str, node: yaml.Node) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


class _Builder:
    """Build plain objects from nodes in one walk that also notes keys that stand twice.

    What PyYAML's own constructor builds, in half its time on large files.
    """

    def __init__(self, loader: yaml.SafeLoader):
        """Build what `loader` composed."""
        self.repeated: list[tuple[Keys, int]] = []
        self._loader = loader
        self._scalars: dict[tuple[str, str], Any] = {}
        self._containers: dict[int, Any] = {}

    def build(self, node: yaml.Node, path: Keys) -> Any:
        """Object that `node`, found at `path`, stands for."""
        if isinstance(node, yaml.ScalarNode):
            return node.value if node.tag == _STRING else self._scalar(node)
        if id(node) in self._containers:  # an alias shows the same node again
            return self._containers[id(node)]
        if node.tag == _MAPPING:
            return self._mapping(cast(yaml.MappingNode, node), path)
        if node.tag == _SEQUENCE:
            items = self._containers[id(node)] = []
            items += [self.build(item, (*path, i)) for i, item in enumerate(node.value)]
            return items
        return self._loader.construct_object(node, deep=True)

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        key = node.tag, node.value
        if key not in self._scalars:
            try:
                self._scalars[key] = self._loader.construct_object(node)
            except _BAD_SCALAR:
                raise _no_yaml(f"{node.value[:40]!r} does not fit its type", node) from None
        return self._scalars[key]

    def _mapping(self, node: yaml.MappingNode, path: Keys) -> dict[Any, Any]:
        mapping = self._containers[id(node)] = {}
        self._note_repeated(node, path)
        if any(key_node.tag == _MERGE for key_node, _ in node.value):
            self._loader.flatten_mapping(node)
        for key_node, value in node.value:
            mapping[self.build(key_node, path)] = self.build(value, (*path, key_node.value))
        return mapping

    def _note_repeated(self, node: yaml.MappingNode, path: Keys) -> None:
        names = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise _no_yaml("a key must not be a mapping or a list", key_node)
            if key_node.value in names:
                self.repeated.append(((*path, key_node.value), key_node.start_mark.line + 1))
            names.add(key_node.value)
