"""Jinja, with its sharp edges taken off.

Templates come from trusted authors but are fed by anybody's data, so: the immutable sandbox, strict
undefined names, no loader outside the package, nothing that gives another result the next time, and no
single operation that makes a huge value. What still can run away (nested loops) is why preflight renders
in a child process.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

from jinja2 import BaseLoader, Environment, StrictUndefined, Template, TemplateNotFound, Undefined
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment, safe_range
from markupsafe import soft_str

#: Characters of one rendered part.
OUTPUT_LIMIT = 10_000_000
#: The largest width, size or repetition that a template may ask for in one step.
WIDTH_LIMIT = 10_000
_PIECES = 200  # rendered between two looks at the size
_VALUE_LIMIT = 1_000_000
_BITS_LIMIT = 10_000
_WIDE_BRACES = re.compile(r"\{[^{}]*(?:\d{4}|\{)")
_WIDE_FORMAT = re.compile(r"%[^a-zA-Z%]*(?:\d{4}|\*)")


class PackageLoader(BaseLoader):
    """Knows the files of one package by their names below the template root, and nothing else."""

    def __init__(self, sources: Mapping[str, str]) -> None:
        self.sources = sources

    def get_source(self, _environment: Environment, template: str) -> tuple[str, str, Callable[[], bool]]:
        if template not in self.sources:
            raise TemplateNotFound(template)
        # The name stands in for a file name, so tracebacks say which template.
        return self.sources[template], template, lambda: True

    def list_templates(self) -> list[str]:
        return sorted(self.sources)


class Sandbox(ImmutableSandboxedEnvironment):
    """``autoescape`` is for the whole environment: what is included into HTML is HTML, whatever its name."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def __init__(self, sources: Mapping[str, str], autoescape: bool, root: str) -> None:
        super().__init__(
            loader=PackageLoader(sources),
            autoescape=autoescape,
            undefined=StrictUndefined,
            finalize=_value,
            cache_size=-1,
        )
        self._root = root
        for name in ("lipsum", "cycler", "joiner", "namespace"):
            del self.globals[name]
        del self.filters["random"]  # the same message on every attempt
        self.filters |= {name: _capped(self.filters[name], at) for name, at in _WIDTHS.items()}
        self.filters["wordwrap"] = _short_only(self.filters["wordwrap"])
        self.filters["format"] = _format
        if not autoescape:
            # Text has nothing to escape, also when the expression was written for HTML.
            self.filters |= dict.fromkeys(("e", "escape", "forceescape", "urlize"), _as_text)

    def join_path(self, template: str, parent: str) -> str:
        """A name counts from the template root, or else from the folder of the file that uses it."""
        known = self.loader.sources if isinstance(self.loader, PackageLoader) else {}
        folders = ("", posixpath.dirname(parent), self._root)
        candidates = (posixpath.normpath(posixpath.join(folder, template)) for folder in folders)
        return next((name for name in candidates if name in known), template)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """As always. What a mapping has under a name is mostly meant, and no attribute of its own."""
        if type(obj) is dict and attribute in obj and not hasattr(dict, attribute):
            return obj[attribute]
        return super().getattr(obj, attribute)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "%" and isinstance(left, str) and _WIDE_FORMAT.search(left):
            raise SecurityError("a format width of 1000 and more is not allowed")
        if operator == "*" and _repeated(left, right) > _VALUE_LIMIT:
            raise SecurityError("this multiplication makes too large a value")
        if operator in {"*", "**"} and _bits(operator, left, right) > _BITS_LIMIT:
            raise SecurityError("this number becomes too large")
        return super().call_binop(context, operator, left, right)

    def call(self, context: Any, function: Any, /, *args: Any, **options: Any) -> Any:
        owner = getattr(function, "__self__", None)
        if isinstance(owner, (str, bytes)) and any(isinstance(a, int) and a > WIDTH_LIMIT for a in args):
            raise SecurityError(f"a width over {WIDTH_LIMIT} is not allowed")
        return super().call(context, function, *args, **options)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        safe = super().wrap_str_format(value)
        if safe is not None and _WIDE_BRACES.search(value.__self__):
            raise SecurityError("a format width of 1000 and more is not allowed")
        return safe


def _value(value: Any) -> Any:
    """What is written. A function would be written as its address in memory: its ``()`` were forgotten."""
    if type(value) is not str and callable(value) and not isinstance(value, Undefined):
        name = getattr(value, "__name__", "this")
        raise SecurityError(f"{name!r} is a function: write {name}()")
    return value


#: What templates have besides the row. Part of every context, because Jinja's own merging of globals
#: costs more than rendering a subject.
GLOBALS: dict[str, Any] = {"range": safe_range, "dict": dict}


def rendered(template: Template, context: dict[str, Any]) -> str:
    """The template's text, at most ``OUTPUT_LIMIT`` characters. Raises whatever the template raises.

    ``context`` must hold ``GLOBALS``.
    """
    pieces = template.root_render_func(Context(template.environment, context, template.name, template.blocks))
    text = "".join(islice(pieces, _PIECES))
    size = len(text)
    more = [text]
    while size <= OUTPUT_LIMIT and (text := "".join(islice(pieces, _PIECES))):
        size += len(text)
        more.append(text)
    if size > OUTPUT_LIMIT:
        raise SecurityError(f"the result is longer than {OUTPUT_LIMIT} characters")
    return "".join(more)


#: Filter -> position of the argument that decides how much it makes.
_WIDTHS = {"center": 0, "indent": 0, "batch": 0, "slice": 0, "truncate": 0, "tojson": 0, "filesizeformat": 0}


def _capped(inner: Callable[..., Any], at: int) -> Callable[..., Any]:
    def filtered(*args: Any, **options: Any) -> Any:
        numbers = [value for value in (*args, *options.values()) if isinstance(value, int)]
        if any(number > WIDTH_LIMIT for number in numbers[at:]):
            raise SecurityError(f"a width over {WIDTH_LIMIT} is not allowed")
        return inner(*args, **options)

    # Jinja reads from the function whether it wants the environment or the context.
    filtered.__dict__.update(inner.__dict__)
    return filtered


def _short_only(inner: Callable[..., Any]) -> Callable[..., Any]:
    def filtered(environment: Any, text: Any, *args: Any, **options: Any) -> Any:
        if len(str(text)) > _VALUE_LIMIT // 10:
            raise SecurityError("wordwrap takes at most 100000 characters")
        return inner(environment, text, *args, **options)

    filtered.__dict__.update(inner.__dict__)
    return filtered


def _format(value: str, *args: Any, **options: Any) -> str:
    if _WIDE_FORMAT.search(value):
        raise SecurityError("a format width of 1000 and more is not allowed")
    return soft_str(value) % (options or args)


def _as_text(value: Any, *_args: Any, **_options: Any) -> str:
    return str(value)


def _repeated(left: Any, right: Any) -> int:
    """The length of what a repetition makes; 0 when it is none."""
    for sequence, times in ((left, right), (right, left)):
        if isinstance(sequence, (str, bytes, list, tuple)) and isinstance(times, int):
            return len(sequence) * times
    return 0


def _bits(operator: str, left: Any, right: Any) -> int:
    if not isinstance(left, int) or not isinstance(right, int):
        return 0
    if operator == "**":
        return left.bit_length() * max(right, 0)
    return left.bit_length() + right.bit_length()
