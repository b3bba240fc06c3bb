"""Whether bodies can be rendered, without rendering them.

What can fail in a template are its expressions, and they depend on nothing but the row. A copy of the
template without its text, which evaluates each of them once, fails exactly when the template does; it takes
a fraction of the time, and nothing has to be escaped, formatted or encoded. What else can fail is length: it
is estimated from above, and where the estimate is too large, or the template does anything that is not
listed here, the message is composed as always.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from jinja2 import Environment, Template, nodes

from mailer.content.assembly import MESSAGE_LIMIT
from mailer.content.bodies import Body, Piece
from mailer.content.filters import proofs
from mailer.content.headers import surely_text
from mailer.content.rows import Context
from mailer.content.sandbox import rendered
from mailer.content.typecheck import TypeCheck

#: Characters of all bodies together.
LARGEST = 1_000_000
#: Of one character, at most, when it is encoded. As many again are left for headers and line ends.
_OCTETS = 24
#: Characters of what a filter for numbers and dates makes.
_NUMBER = 400
#: Characters that a filter makes of one: three in capitals, five escaped.
_GROWTH = 15

#: Their results are bounded by their arguments, and they make nothing that another result depends on later.
_FILTERS = frozenset(
    ("money", "number", "percent", "default", "d", "e", "escape", "upper", "lower", "capitalize", "trim")
)
#: Those that write numbers, which takes longer than to see that they can.
_NUMBERS = frozenset(("money", "number", "percent"))
#: The same, as long as their arguments are written in the template, and short.
_FORMATS = frozenset(("date", "datetime"))
_SHORT = 30
_EXPRESSIONS = (
    *(nodes.Const, nodes.Name, nodes.Getattr, nodes.Tuple, nodes.List, nodes.Keyword),
    *(nodes.Compare, nodes.Operand, nodes.Not, nodes.And, nodes.Or, nodes.CondExpr, nodes.Test),
)


def certainly_fits(characters: int) -> bool:
    """A message whose texts and parts are so long together, however they are encoded."""
    return characters <= LARGEST


def names_written(piece: Piece) -> frozenset[str] | None:
    """What a line consists of, where it is names and plain text alone; None for any other."""
    names = set()
    for node in _tree(piece).body:
        for part in node.nodes if isinstance(node, nodes.Output) else (node,):
            if isinstance(part, nodes.Name):
                names.add(part.name)
            elif not isinstance(part, nodes.TemplateData) or not surely_text(part.data):
                return None
    return frozenset(names)


def _tree(piece: Piece) -> nodes.Template:
    return piece.template.environment.parse(_source(piece), piece.template.name)


def _source(piece: Piece) -> str:
    sources: Mapping[str, str] = getattr(piece.template.environment.loader, "sources", {})
    return sources[piece.template.name or ""]


class _Unclear(Exception):
    """It holds something whose cost or length is not known from its form."""


@dataclass(frozen=True, slots=True)
class DryRun:
    """Of the bodies of one language variant."""

    templates: Sequence[Template]
    types: TypeCheck | None  # tells it of most rows, and is cheaper
    loops: frozenset[str]  # what they go over
    text: int  # characters of the sources
    inside: int  # expressions in loops
    outside: int

    @classmethod
    def of(cls, body: Body, shared: Sequence[bytes] = ()) -> DryRun | None:
        """None: only composing tells. ``shared`` are the parts that every message has beside its images."""
        parts = sum(map(len, (*body.images, *shared)))
        if body.text_from_html or parts + LARGEST * _OCTETS > MESSAGE_LIMIT:
            return None
        reduction = _Reduction()
        try:
            trees = [tree for piece in (body.html, body.text) if piece and (tree := reduction.reduced(piece))]
        except _Unclear:
            return None
        types = TypeCheck.of(((tree, environment.filters) for tree, environment in trees), _OF_NUMBERS)
        templates = [environment.from_string(tree) for tree, environment in trees]
        counts = reduction.inside, reduction.outside
        return cls(templates, types, frozenset(reduction.loops), reduction.text, *counts)

    def passes(self, context: Context, size: int) -> bool:
        """True: these bodies can be composed of this row, which takes ``size`` characters as JSON."""
        try:
            longest = max((len(context[name]) for name in self.loops), default=0)
            times = 1 + longest
            shown = (self.outside + self.inside * times) * (_NUMBER + _GROWTH * size)
            if not certainly_fits(self.text * times + shown + size):  # attachments are part of ``size``
                return False
            if self.types is not None and self.types.passes(context):
                return True
            for template in self.templates:
                rendered(template, context)
        except Exception:  # noqa: BLE001 - a template can raise anything; composing says it in good words
            return False
        return True


#: Before the name of a filter: what fails when it does, and writes nothing.
_PROOF_OF = "proof of "
_OF_NUMBERS = _NUMBERS | {_PROOF_OF + name for name in _NUMBERS}


def _proving(environment: Environment) -> Environment:
    """The same, but for what only changes how results are written."""
    made = environment.overlay(autoescape=False)
    of = proofs(environment.filters)
    made.filters = environment.filters | {_PROOF_OF + name: proof for name, proof in of.items()}
    return made


class _Reduction:
    """Leaves out of templates what cannot fail, and what was evaluated in the same place before."""

    def __init__(self) -> None:
        self.loops: set[str] = set()
        self._gone_over: set[str] = set()
        self.text = self.inside = self.outside = 0
        self._proven: set[tuple[str, str]] = set()

    def reduced(self, piece: Piece) -> tuple[nodes.Template, Environment] | None:
        """With what it is to be compiled in. None: it has nothing that was not evaluated before. Raises
        _Unclear."""
        self.text += len(_source(piece))
        tree = _tree(piece)
        tree.body = self._block(tree.body, "", certain=True)
        if not tree.body:
            return None
        proving = _proving(piece.template.environment)
        tree.set_environment(proving)
        return tree, proving

    def _block(self, body: Sequence[nodes.Node], place: str, *, certain: bool) -> list[nodes.Node]:
        return list(chain.from_iterable(self._statement(node, place, certain) for node in body))

    def _statement(self, node: nodes.Node, place: str, certain: bool) -> list[nodes.Node]:
        if isinstance(node, nodes.Output):
            kept = [_cheaper(one) for one in node.nodes if self._needed(one, place, certain)]
            return [nodes.Output(kept, lineno=node.lineno)] if kept else []
        if isinstance(node, nodes.If):
            return [self._choice(node, place)]
        if isinstance(node, nodes.For) and not place:
            return self._loop(node, certain)
        raise _Unclear

    def _needed(self, node: nodes.Expr, place: str, certain: bool) -> bool:
        """An expression, unless it was evaluated before, whatever the row is."""
        if isinstance(node, nodes.TemplateData):
            return False
        _look(node)
        if place:
            self.inside += 1
        else:
            self.outside += 1
        what = (place, repr(node))
        if what in self._proven:
            return False
        if certain:
            self._proven.add(what)
        return True

    def _choice(self, node: nodes.If, place: str) -> nodes.If:
        _look(node.test)
        node.body = self._block(node.body, place, certain=False)
        node.elif_ = [self._choice(other, place) for other in node.elif_]
        node.else_ = self._block(node.else_, place, certain=False)
        return node

    def _loop(self, node: nodes.For, certain: bool) -> list[nodes.Node]:
        if not (isinstance(node.iter, nodes.Name) and isinstance(node.target, nodes.Name)):
            raise _Unclear
        if node.recursive or node.test is not None:
            raise _Unclear
        self.loops.add(node.iter.name)
        place = f"{node.target.name} in {node.iter.name}"
        node.body = self._block(node.body, place, certain=certain)
        node.else_ = self._block(node.else_, place, certain=False)
        if not (node.body or node.else_) and node.iter.name in self._gone_over:
            return []
        if certain:
            self._gone_over.add(node.iter.name)
        return [node]


def _cheaper(node: nodes.Expr) -> nodes.Expr:
    """What is only written, and decides nothing, need not be formatted."""
    if isinstance(node, nodes.Filter) and node.name in _NUMBERS:
        node.name = _PROOF_OF + node.name
    return node


def _look(node: nodes.Node) -> None:
    """Raises _Unclear for an expression with anything that is not listed."""
    if isinstance(node, nodes.Filter):
        short = all(isinstance(one, nodes.Const) and len(str(one.value)) <= _SHORT for one in node.args)
        known = node.name in _FILTERS or (node.name in _FORMATS and short and not node.kwargs)
        if not known or node.dyn_args or node.dyn_kwargs:
            raise _Unclear
    elif not isinstance(node, _EXPRESSIONS):
        raise _Unclear
    for child in node.iter_child_nodes():
        _look(child)
