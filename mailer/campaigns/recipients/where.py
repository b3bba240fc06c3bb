"""``where = "plan == 'pro' and not vip"``: which rows to take, in a small language over the cells.

Columns by identifier, or ``row["First Name"]``; text in quotes, numbers, ``true`` and ``false``;
``== != < <= > >=``, ``in`` and ``not in`` (a list, or a part of a text), ``and or not``, parentheses; the
functions in ``FUNCTIONS``. The grammar is Python's, read with ``ast``; nothing is ever evaluated as
Python: each node of a short list becomes a closure, every other node is an error.

A column has the type that ``[types]`` gives it, else it is text. Text written beside a date is read as a
date. An empty cell with a type equals nothing and is neither smaller nor larger. Sides are looked at from
left to right, and only as far as needed, so a cell that is not of its type matters only when it is reached.
"""

from __future__ import annotations

import ast
import operator
import re
import warnings
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from mailer.campaigns.recipients.conditions import (
    FUNCTIONS,
    Cells,
    Node,
    compared,
    constant,
    converted_cell,
    every,
    some,
)
from mailer.campaigns.recipients.header import Columns, listed
from mailer.content.celltypes import convert
from mailer.errors import RecipientsError

_LANGUAGE = (
    "It knows columns and row[\"…\"], 'text', numbers, == != < <= > >=, in, not in, and, or, not, "
    f"parentheses, and the functions {', '.join(FUNCTIONS)}."
)
_LONGEST = 2_000
_DEEPEST = 50
_LINE_ENDS = re.compile(r"[\r\n\f]")
_NUMBERS = frozenset({"integer", "decimal", "decimal,"})
_MOMENTS = frozenset({"date", "datetime"})

_COMPARE: Mapping[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


class Where:
    """A compiled condition. Calling it with a row's cells says whether the row is taken. Raises BadCell.

    Pickles as its source.
    """

    def __init__(self, source: str, columns: Columns, types: Mapping[int, str]) -> None:
        self._arguments = (source, columns, dict(types))
        self._test = _Compiler(source, columns, types).compile().get

    def __call__(self, cells: Cells) -> bool:
        return bool(self._test(cells))

    def __reduce__(self) -> tuple[type[Where], tuple[str, Columns, dict[int, str]]]:
        return Where, self._arguments


class _Compiler:
    def __init__(self, source: str, columns: Columns, types: Mapping[int, str]) -> None:
        self._source = source
        flat = _LINE_ENDS.sub(" ", source)  # so that a position is one number
        self._text = flat.strip()
        self._indent = len(flat) - len(flat.lstrip())
        self._depth = 0
        self._columns = columns
        self._types = types

    def compile(self) -> Node:
        if len(self._source) > _LONGEST:
            raise RecipientsError(f"where: longer than {_LONGEST} characters")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about escapes; the text is data
                tree = ast.parse(self._text, mode="eval")
            return self._condition(tree.body)
        except SyntaxError as error:
            raise self._unreadable(error) from None
        except (ValueError, RecursionError, MemoryError):
            raise RecipientsError("where: this cannot be read") from None

    def _condition(self, node: ast.expr) -> Node:
        found = self._node(node)
        if found.kind == "list":
            raise self._rejected(node, "a list stands only on the right of 'in'")
        return found

    def _node(self, node: ast.expr) -> Node:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._rejected(node, f"this is nested more than {_DEEPEST} times")
        found = self._piece(node)
        self._depth -= 1
        return found

    def _piece(self, node: ast.expr) -> Node:
        match node:
            case ast.BoolOp(op=op, values=values):
                return self._combined(op, [self._condition(value).get for value in values])
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                inner = self._condition(operand).get
                return Node(lambda cells: not inner(cells), "boolean")
            case ast.Compare():
                return self._comparison(node)
            case ast.Name(id=name):
                return self._name(node, name)
            case ast.Subscript(value=ast.Name(id="row"), slice=ast.Constant(value=str(header))):
                return self._column(node, header)
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                return self._call(node, name, arguments)
            case ast.List(elts=items) | ast.Tuple(elts=items) | ast.Set(elts=items):
                return self._list(items)
            case _:
                return self._literal(node)

    def _combined(self, op: ast.boolop, parts: list[Callable[[Cells], Any]]) -> Node:
        return Node(every(parts) if isinstance(op, ast.And) else some(parts), "boolean")

    def _comparison(self, node: ast.Compare) -> Node:
        if any(isinstance(op, ast.Is | ast.IsNot) for op in node.ops):
            raise self._rejected(node, "there is no 'is': == compares, and an empty cell equals ''")
        sides = [self._node(side) for side in (node.left, *node.comparators)]
        tests = [
            self._test(node, op, left, right)
            for op, left, right in zip(node.ops, sides, sides[1:], strict=False)
        ]
        return Node(tests[0] if len(tests) == 1 else every(tests), "boolean")

    def _test(self, node: ast.expr, op: ast.cmpop, left: Node, right: Node) -> Callable[[Cells], bool]:
        if isinstance(op, ast.In | ast.NotIn):
            return self._membership(node, isinstance(op, ast.In), left, right)
        compare = _COMPARE.get(type(op))
        if compare is None:
            raise self._rejected(node, "only == != < <= > >= in and not in compare")
        left, right = self._matched(node, left, right)
        return compared(compare, left.get, right.get, left.kind == "text")

    def _membership(self, node: ast.expr, wanted: bool, left: Node, right: Node) -> Callable[[Cells], bool]:
        get_left, get_right = left.get, right.get
        if right.kind == "list":
            items = [self._matched(node, left, item)[1].literal for item in right.literal]
            return lambda cells: (get_left(cells) in items) is wanted
        if left.kind != "text" or right.kind != "text":
            raise self._rejected(node, "on the right of 'in' stands a list, or a text")
        return lambda cells: (get_left(cells) in get_right(cells)) is wanted

    def _matched(self, node: ast.expr, left: Node, right: Node) -> tuple[Node, Node]:
        """Both sides in one kind; a text written beside a date becomes a date."""
        if left.kind == right.kind != "list":
            return left, right
        if left.kind in _MOMENTS and right.literal is not None:
            return left, self._read_as(node, left.type_name, right)
        if right.kind in _MOMENTS and left.literal is not None:
            return self._read_as(node, right.type_name, left), right
        raise self._rejected(
            node,
            f"a {left.kind} is never comparable with a {right.kind}; declare the column's type in [types]",
        )

    def _read_as(self, node: ast.expr, type_name: str, side: Node) -> Node:
        try:
            value = convert(type_name, str(side.literal))
        except ValueError as error:
            raise self._rejected(node, f"{side.literal!r}: {error}") from None
        return Node(lambda _: value, type_name.partition(":")[0], value, type_name)

    def _name(self, node: ast.expr, name: str) -> Node:
        if name.lower() in {"true", "false"} and name not in self._columns.identifiers:
            return constant(name.lower() == "true", "boolean")
        return self._column(node, name)

    def _column(self, node: ast.expr, name: str) -> Node:
        try:
            index = self._columns.index(name)
        except RecipientsError:
            there_are = listed(self._columns.identifiers)
            raise self._rejected(node, f"there is no column {name!r}; there are {there_are}") from None
        type_name = self._types.get(index, "text")
        base = type_name.partition(":")[0]
        get = operator.itemgetter(index) if base == "text" else converted_cell(index, type_name)
        return Node(get, "number" if base in _NUMBERS else base, None, type_name)

    def _call(self, node: ast.expr, name: str, arguments: list[ast.expr]) -> Node:
        if name not in FUNCTIONS:
            raise self._rejected(node, f"there is no function {name!r}; there are {', '.join(FUNCTIONS)}")
        function, kinds, result = FUNCTIONS[name]
        given = [self._node(argument) for argument in arguments]
        if tuple(argument.kind for argument in given) != kinds:
            raise self._rejected(node, f"{name}() takes {len(kinds)} text{'s' * (len(kinds) > 1)}")
        getters = [argument.get for argument in given]
        return Node(lambda cells: function(*[get(cells) for get in getters]), result)

    def _list(self, items: list[ast.expr]) -> Node:
        parts = [self._literal(item) for item in items]
        return Node(lambda _: True, "list", parts)

    def _literal(self, node: ast.expr) -> Node:
        match node:
            case ast.Constant(value=bool(value)):
                return constant(value, "boolean")
            case ast.Constant(value=str(value)):
                return constant(value, "text")
            case ast.Constant(value=int(value)):
                return constant(Decimal(value), "number")
            case ast.Constant(value=float(value)):
                return constant(Decimal(repr(value)), "number")
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant()):
                inner = self._literal(node.operand)
                if inner.kind == "number":
                    return constant(-inner.literal, "number")
        raise self._rejected(node, f"this is not part of the language of where. {_LANGUAGE}")

    def _rejected(self, node: ast.expr, reason: str) -> RecipientsError:
        before = self._text.encode()[: node.col_offset].decode()
        return self._failure(len(before) + 1, reason)

    def _unreadable(self, error: SyntaxError) -> RecipientsError:
        position = error.offset or len(self._text) + 1
        single = self._text[position - 1 : position + 1].startswith("=")
        reason = "two values are compared with ==" if single else f"this cannot be read: {error.msg}"
        return self._failure(position, reason)

    def _failure(self, position: int, reason: str) -> RecipientsError:
        return RecipientsError(
            f"where, character {self._indent + position}: {reason}", hint=f"where = {self._source!r}"
        )
