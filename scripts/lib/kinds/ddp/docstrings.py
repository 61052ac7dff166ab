"""Text that every Python installation carries: the docstrings of its standard library.

Their lengths vary strongly, and whether one describes a class or a function can be learnt.
"""

import ast
import sysconfig
from pathlib import Path

LABELS = ("class", "function")
# Packages of which nobody's Python lacks the sources; test suites would be most of the text.
PACKAGES = ("asyncio", "collections", "concurrent", "email", "http", "importlib", "json",
            "logging", "multiprocessing", "unittest", "urllib", "wsgiref", "xml")  # fmt: skip


def docstrings() -> tuple[list[str], list[int]]:
    """Docstrings of classes and functions, and their labels: 0 for a class, 1 for a function."""
    library = Path(sysconfig.get_path("stdlib"))
    paths = [
        *library.glob("*.py"),
        *(p for name in PACKAGES for p in (library / name).glob("*.py")),
    ]
    found: dict[str, int] = {}
    for path in sorted(paths):
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, OSError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = " ".join((ast.get_docstring(node) or "").split())
                if text:
                    found.setdefault(text, int(not isinstance(node, ast.ClassDef)))
    return list(found), list(found.values())
