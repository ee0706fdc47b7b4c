"""Real text of every Python installation: docstrings of the standard library and topics of the language reference.

Python source is parsed, never imported, because importing some modules has effects (`this`, `antigravity`, `idlelib`).
Only modules written in C, which have no source to parse, are imported, from the fixed list `C_MODULES`.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
import sysconfig
import types
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

# Test suites, vendored code, programs and data that are not a library, and the other system's os.path.
SKIPPED_PARTS = frozenset(
    {
        "__pycache__",
        "_pyrepl",
        "distutils",
        "ensurepip",
        "idle_test",
        "idlelib",
        "lib2to3",
        "ntpath",
        "pydoc_data",
        "site-packages",
        "test",
        "tests",
        "turtledemo",
    }
)

# Python modules that users import under another name.
PUBLIC_NAMES = {
    "_collections_abc": "collections.abc",
    "_pydatetime": "datetime",
    "_pydecimal": "decimal",
    "_pyio": "io",
    "genericpath": "os.path",
    "posixpath": "os.path",
}

# Modules written in C whose import has no effects (`readline` would write to the terminal), with the name that users
# import. A build may lack some.
_C_PUBLIC = """array atexit binascii builtins cmath errno faulthandler fcntl gc grp itertools marshal math mmap
    msvcrt pwd pyexpat resource select sys syslog termios time unicodedata winreg winsound zlib"""
_C_UNDERSCORED = """asyncio bisect bz2 codecs collections csv ctypes curses datetime decimal functools hashlib heapq io
    json lzma operator pickle queue random socket sqlite3 ssl statistics struct tracemalloc warnings weakref zoneinfo"""
C_MODULES = {
    **{name: name for name in _C_PUBLIC.split()},
    **{f"_{name}": name for name in _C_UNDERSCORED.split()},
    "_elementtree": "xml.etree.ElementTree",
    "_sre": "re",
    "_thread": "threading",
    "nt": "os",
    "posix": "os",
}

PASSAGE_CHARS = 900  # about 200 tokens: a passage of a reference topic fits the encoder's 256
MIN_WORDS = 3  # "Undocumented." answers nothing


class Document(NamedTuple):
    """A text and the dotted name that it documents, such as `datetime.datetime.strptime`."""

    name: str
    body: str

    @property
    def text(self) -> str:
        """The encoded and stored text: the name, a colon, and the docstring."""
        return f"{self.name}: {self.body}"


def collect() -> list[Document]:
    """The documents of this Python installation, sorted by name, each name and each body once.

    The same installation always gives the same list.
    """
    by_name: dict[str, str] = {}
    for name, body in (*source_docstrings(standard_library()), *c_docstrings(), *reference_topics()):
        if len(body) > len(by_name.get(name, "")):  # two implementations of a name: the longer docstring
            by_name[name] = body
    # Inherited and re-exported docstrings repeat: the text goes to the shallowest, then shortest, then first name.
    by_body: dict[str, str] = {}
    for name in sorted(by_name, key=lambda n: (n.count("."), len(n), n)):
        by_body.setdefault(" ".join(by_name[name].split()), name)
    return [Document(name, by_name[name]) for name in sorted(by_body.values())]


def spread(documents: Sequence[Document], limit: int) -> list[Document]:
    """At most `limit` of the documents, evenly spaced, so that every part of the library keeps its share."""
    count = min(limit, len(documents))
    return [documents[i * len(documents) // count] for i in range(count)]


def standard_library() -> Path:
    """The folder that holds the standard library's source files."""
    return Path(sysconfig.get_path("stdlib"))


def source_docstrings(root: Path) -> Iterator[tuple[str, str]]:
    """(dotted name, docstring) of every public module, class, method and function under `root`, by parsing."""
    for module in sorted(sys.stdlib_module_names):
        for path in _module_files(root, module):
            parts = path.relative_to(root).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            public = PUBLIC_NAMES.get(name, name)
            if _is_public(public):
                try:
                    tree = ast.parse(path.read_bytes())
                except (OSError, SyntaxError, ValueError):
                    continue  # lib2to3 and others have files that do not parse on purpose
                yield from _node_docstrings(tree, public)


def _module_files(root: Path, module: str) -> list[Path]:
    """The source files of one top-level module or package, without its tests."""
    single = root / f"{module}.py"
    files = [single] if single.is_file() else sorted((root / module).rglob("*.py"))
    return [path for path in files if SKIPPED_PARTS.isdisjoint(path.relative_to(root).with_suffix("").parts)]


def _node_docstrings(node: ast.AST, name: str) -> Iterator[tuple[str, str]]:
    """The docstring of a module, class or function, then those of its definitions, also inside `if` and `try`."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        body = ast.get_docstring(node) or ""
        if len(body.split()) >= MIN_WORDS:
            yield name, body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            return  # definitions inside a function have no dotted name
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if not child.name.startswith("_"):
                yield from _node_docstrings(child, f"{name}.{child.name}")
        elif isinstance(child, ast.If | ast.Try):
            yield from _node_docstrings(child, name)


def c_docstrings(modules: Mapping[str, str] = C_MODULES) -> Iterator[tuple[str, str]]:
    """(dotted name, docstring) of the public functions, classes and methods of modules that are written in C."""
    for name, public in modules.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # deprecated modules warn on import
                module = importlib.import_module(name)
        except ImportError:
            continue
        if name == public:
            yield from _object_docstring(module, name)
        yield from _member_docstrings(module, "" if name == "builtins" else f"{public}.")


def _member_docstrings(owner: object, prefix: str) -> Iterator[tuple[str, str]]:
    for name, value in sorted(vars(owner).items()):
        if owner is sys:  # test runners replace its hooks; sys.__excepthook__ is the original
            value = getattr(sys, f"__{name}__", value)
        if name.startswith("_") or not (isinstance(value, type) or _is_routine_or_attribute(value)):
            continue
        yield from _object_docstring(value, prefix + name)
        if isinstance(value, type) and isinstance(owner, types.ModuleType):
            yield from _member_docstrings(value, f"{prefix}{name}.")


def _is_routine_or_attribute(value: object) -> bool:
    return inspect.isroutine(value) or inspect.isgetsetdescriptor(value) or inspect.ismemberdescriptor(value)


def _object_docstring(value: object, name: str) -> Iterator[tuple[str, str]]:
    doc = getattr(value, "__doc__", None)
    if isinstance(doc, str):
        body = inspect.cleandoc(doc)
        if len(body.split()) >= MIN_WORDS:
            yield name, body


def reference_topics() -> Iterator[tuple[str, str]]:
    """(`reference.<topic>`, passage) of the text of `help("topic")`; a long topic also gives `.2`, `.3`, ..."""
    from pydoc_data.topics import topics

    for topic, text in sorted(topics.items()):
        without_underlines = re.sub(r"^ *([*=~-])\1{2,}\n", "", text, flags=re.MULTILINE)
        for number, passage in enumerate(passages(without_underlines), start=1):
            yield f"reference.{topic}" if number == 1 else f"reference.{topic}.{number}", passage


def passages(text: str, size: int = PASSAGE_CHARS) -> list[str]:
    """Cuts `text` between paragraphs into passages of at most `size` characters; a longer paragraph stays whole."""
    found: list[str] = []
    for paragraph in filter(str.strip, text.split("\n\n")):
        if found and len(found[-1]) + 2 + len(paragraph) <= size:
            found[-1] += "\n\n" + paragraph
        else:
            found.append(paragraph.strip("\n"))
    return found


def _is_public(name: str) -> bool:
    return not any(part.startswith("_") and part != "__future__" for part in name.split("."))
