"""Layout, blocks and includes resolved into one source, so CSS can be inlined over the whole page.

Only what is certain before any row is seen is resolved: literal names, blocks, ``super()``. Includes that
are decided per row stay statements; a page whose layout itself is decided per row cannot be flattened.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from jinja2 import Environment

_LITERAL = r"""\s+(?:"([^"]+)"|'([^']+)')"""
_EXTENDS = re.compile(rf"extends{_LITERAL}$")
_INCLUDE = re.compile(rf"include{_LITERAL}(?:\s+with\s+context)?$")
_ANY_USE = re.compile(rf"((?:include|import|from){_LITERAL})")
_BLOCK = re.compile(r"block\s+(\w+)")
_SUPER = re.compile(r"super\s*\(\s*\)$")
_SELF = re.compile(r"\bself\s*\.|\bself\s*\[|\bsuper\s*\(")
_DEFINES = re.compile(r"(?:set|import|from|macro)\b")
_DEPTH = 20

_LEXER = Environment(autoescape=True)
_ENDS = {"variable_end": "expression", "block_end": "statement", "comment_end": "comment", "raw_end": "raw"}


@dataclass(frozen=True, slots=True)
class Markup:
    """One piece of a source: data, expression, statement, comment or raw. Joined, pieces are the source."""

    kind: str
    text: str

    @property
    def inside(self) -> str:
        return self.text[2:-2].strip("-+ \t\n")

    @property
    def written(self) -> str:
        """Without ``-`` at its ends: what that removes is gone already, and here it has other neighbours."""
        if self.kind == "data":
            return self.text
        start = self.text[:2] + self.text[2:].removeprefix("-").removeprefix("+")
        return start[:-2].removesuffix("-").removesuffix("+") + start[-2:]


@dataclass(frozen=True, slots=True)
class Flat:
    """``complete``: nothing outside this source can still add HTML."""

    source: str
    complete: bool = True


def pieces(source: str) -> list[Markup]:
    """The source cut where Jinja's own lexer cuts it; whitespace that ``-`` removes is already gone."""
    found: list[Markup] = []
    held = ""
    for _, kind, text in _LEXER.lex(source):
        if kind == "data" and not held:
            found.append(Markup("data", text))
            continue
        held += text
        if kind in _ENDS:
            # "{%- x -%}  " holds the blanks that it removes.
            found.append(Markup(_ENDS[kind], held.rstrip() if held.rstrip().endswith("-%}") else held))
            held = ""
    return found


def flattened(name: str, sources: Mapping[str, str], join: Callable[[str, str], str]) -> Flat | None:
    """One source for the template and all that it uses. None: the layout is decided per row."""
    work = _Flattening(sources, join)
    try:
        return Flat(work.template(name), work.complete)
    except _Undecided:
        return None


class _Undecided(Exception):
    """Only a row can tell."""


@dataclass(slots=True)
class _Block:
    name: str
    inside: list[Markup | _Block] = field(default_factory=list)


_Nodes = list[Markup | _Block]


class _Flattening:
    def __init__(self, sources: Mapping[str, str], join: Callable[[str, str], str]) -> None:
        self._sources = sources
        self._join = join
        self._depth = 0
        self.complete = True

    def template(self, name: str) -> str:
        self._depth += 1
        if self._depth > _DEPTH or name not in self._sources:
            raise _Undecided
        chain, preamble = self._chain(name)
        definitions: dict[str, list[tuple[str, _Nodes]]] = {}
        for user, tree in chain:
            for block in _blocks(tree):
                definitions.setdefault(block.name, []).append((user, block.inside))
        user, base = chain[-1]
        text = preamble + self._written(base, user, definitions, None)
        self._depth -= 1
        return text

    def _chain(self, name: str) -> tuple[list[tuple[str, _Nodes]], str]:
        """From the template to its last layout, and what they define on the way."""
        chain: list[tuple[str, _Nodes]] = []
        preamble = ""
        while True:
            tree = _tree(pieces(self._sources[name]))
            chain.append((name, tree))
            parent = _parent(tree)
            if parent is None:
                return chain, preamble
            preamble += self._definitions(tree, name)
            name = self._join(parent, name)
            if name not in self._sources or len(chain) > _DEPTH:
                raise _Undecided

    def _definitions(self, tree: _Nodes, user: str) -> str:
        """The top level of a child: its output is dropped by Jinja, its definitions count."""
        written, until = "", ""
        for node in tree:
            if isinstance(node, _Block):
                if until:
                    raise _Undecided
                continue
            word = node.inside.split(None, 1)[0] if node.kind == "statement" else ""
            if until:
                written += node.written
                until = "" if word == until else until
            elif word in {"set", "import", "from", "macro"}:
                written += self._with_whole_name(node, user)
                until = _end_of(node.inside)
            elif word and word != "extends":
                raise _Undecided
        return written

    def _written(
        self,
        tree: _Nodes,
        user: str,
        definitions: Mapping[str, list[tuple[str, _Nodes]]],
        above: list[tuple[str, _Nodes]] | None,
    ) -> str:
        written = []
        for node in tree:
            if isinstance(node, _Block):
                (owner, inside), *rest = definitions[node.name]
                written.append(_scoped(inside, self._written(inside, owner, definitions, rest)))
            elif node.kind == "expression" and _SUPER.match(node.inside) and above:
                (owner, inside), *rest = above
                written.append(_scoped(inside, self._written(inside, owner, definitions, rest)))
            else:
                written.append(self._piece(node, user))
        return "".join(written)

    def _piece(self, node: Markup, user: str) -> str:
        if node.kind in {"expression", "statement"} and _SELF.search(node.inside):
            raise _Undecided
        if node.kind != "statement":
            return node.written
        if include := _INCLUDE.match(node.inside):
            name = self._join(include[1] or include[2], user)
            if name in self._sources:
                return "{% with %}" + self.template(name) + "{% endwith %}"
        return self._with_whole_name(node, user)

    def _with_whole_name(self, node: Markup, user: str) -> str:
        """A statement that loads a template at run time names it from the template root."""
        if not re.match(r"(?:include|import|from)\b", node.inside):
            return node.written
        self.complete = False
        found = _ANY_USE.search(node.written)
        if not found:
            return node.written
        name = found[2] or found[3]
        return node.written.replace(found[1], found[1].replace(name, self._join(name, user)), 1)


def _tree(markup: list[Markup]) -> _Nodes:
    top: _Nodes = []
    stack = [top]
    for piece in markup:
        word = piece.inside if piece.kind == "statement" else ""
        if opened := _BLOCK.match(word):
            block = _Block(opened[1])
            stack[-1].append(block)
            stack.append(block.inside)
        elif re.match(r"endblock\b", word):
            stack.pop()
        else:
            stack[-1].append(piece)
    return top


def _blocks(tree: _Nodes) -> list[_Block]:
    found = []
    for node in tree:
        if isinstance(node, _Block):
            found += [node, *_blocks(node.inside)]
    return found


def _parent(tree: _Nodes) -> str | None:
    for at, node in enumerate(tree):
        if isinstance(node, Markup) and node.kind == "statement" and node.inside.startswith("extends"):
            literal = _EXTENDS.match(node.inside)
            shown = any(
                isinstance(one, _Block) or (one.kind == "data" and one.text.strip()) for one in tree[:at]
            )
            if literal is None or shown:
                raise _Undecided
            return literal[1] or literal[2]
    return None


def _end_of(statement: str) -> str:
    """The statement that closes this one: macros, and ``set`` without a value."""
    if statement.startswith("macro"):
        return "endmacro"
    return "endset" if statement.startswith("set") and "=" not in statement else ""


def _scoped(inside: _Nodes, written: str) -> str:
    """What a block defines stays in it."""
    defines = any(
        isinstance(node, Markup) and node.kind == "statement" and _DEFINES.match(node.inside)
        for node in inside
    )
    return "{% with %}" + written + "{% endwith %}" if defines else written
