"""Read a YAML file safely and remember on which line each key stands."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from scripts.lib.schema.errors import InputError

# libyaml where PyYAML was built with it: ten times faster, the same nodes and marks.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class YamlFile:
    """A YAML mapping with its place of origin.

    `data` is the mapping as plain Python objects. `line_of` finds the line of a key for messages.
    """

    path: str
    data: dict[str, Any]
    _root: yaml.Node

    def line_of(self, keys: tuple[str | int, ...]) -> int:
        """Line (from 1) of the innermost of `keys` that stands in the file."""
        node, line = self._root, self._root.start_mark.line
        for key in keys:
            step = _step(node, key)
            if step is None:
                break
            line, node = step
        return line + 1


def load_yaml(path: str | Path) -> YamlFile:
    """Read the mapping in the YAML file `path`; the safe loader builds plain objects only.

    Raises InputError when the file cannot be read, is not valid YAML, is not a mapping, or has
    a key that stands twice (YAML's own rule, which most loaders do not check).
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise InputError(f"{path}: cannot be read: {reason}") from None
    loader = None
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if not isinstance(root, yaml.MappingNode):
            kind = "empty" if root is None else f"a {root.id}"
            raise InputError(f"{path}:1: must be a mapping (key: value), but is {kind}")
        duplicates = [
            f"{path}:{line}: {keys}: this key stands twice" for keys, line in _twice(root)
        ]
        if duplicates:
            raise InputError(*duplicates)
        data = loader.construct_document(root)
    except (yaml.YAMLError, ValueError, RecursionError, TypeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        problem = getattr(error, "problem", None) or str(error) or type(error).__name__
        raise InputError(f"{path}:{line}: not valid YAML: {problem}") from None
    finally:
        if loader is not None:
            loader.dispose()
    return YamlFile(str(path), data, root)


def _step(node: yaml.Node, key: str | int) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for key_node, value in node.value:
            if key_node.value == str(key):
                return key_node.start_mark.line, value
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        return node.value[key].start_mark.line, node.value[key]
    return None


def _twice(root: yaml.Node) -> list[tuple[str, int]]:
    """Dotted path and line of every mapping key that stands twice below `root`."""
    found, waiting, visited = [], [((), root)], set()
    while waiting:
        path, node = waiting.pop()
        if id(node) in visited:  # an alias shows the same node again
            continue
        visited.add(id(node))
        if isinstance(node, yaml.MappingNode):
            keys = set()
            for key_node, value in node.value:
                name = str(key_node.value)
                if name in keys:
                    found.append((".".join((*path, name)), key_node.start_mark.line + 1))
                keys.add(name)
                waiting.append(((*path, name), value))
        elif isinstance(node, yaml.SequenceNode):
            waiting += [((*path, str(i)), item) for i, item in enumerate(node.value)]
    return sorted(found, key=lambda item: item[1])
