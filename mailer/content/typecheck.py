"""Whether a template's expressions can be evaluated, told by the types of what they read.

Text, numbers and truth values can always be written, and a list can always be gone over. Nothing is rendered,
and no condition is looked at: all that any branch reads has to be there. So this is cheaper than any
rendering, and where it says no, nobody knows yet.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from operator import itemgetter
from typing import Any, NamedTuple

from jinja2 import nodes

from mailer.content.rows import Context

_SIMPLE = frozenset((str, int, float, bool, type(None)))
#: What ``if`` can look at.
_TESTED = _SIMPLE | {list, dict}
#: Python writes whole numbers of any size, but refuses those of thousands of digits.
_MOST = 10**18
#: They take what is simple, and never fail.
_FILTERS = frozenset(("e", "escape", "upper", "lower", "capitalize", "trim"))
_EQUAL = frozenset(("eq", "ne"))

#: By their names, as an environment of Jinja has them.
Filters = Mapping[str, Callable[..., Any]]


def simple(values: Collection[Any]) -> bool:
    """All of them can be written as text, whatever they are."""
    kinds = set(map(type, values))
    if not kinds <= _SIMPLE:
        return False
    return int not in kinds or all(-_MOST < one < _MOST for one in values if type(one) is int)


class _Group(NamedTuple):
    """Mappings under one name: one, or a list of them."""

    name: str
    listed: bool

    def rows(self, context: Context) -> list[Any]:
        """Raises TypeError where it is something else."""
        found = context[self.name] if self.listed else [context[self.name]]
        if type(found) is not list or any(type(one) is not dict for one in found):
            raise TypeError
        return found


class _Number(NamedTuple):
    """``write`` raises where there is no number."""

    write: Callable[..., Any]
    group: _Group | None  # None: the row itself
    key: str
    arguments: tuple[nodes.Const | nodes.Name, ...]

    def prove(self, context: Context) -> None:
        how = [one.value if isinstance(one, nodes.Const) else context[one.name] for one in self.arguments]
        for row in [context] if self.group is None else self.group.rows(context):
            self.write(row[self.key], *how)


class TypeCheck:
    """Of some templates, whose expressions are of few kinds."""

    def __init__(self, reading: _Reading) -> None:
        self._names = _getter(reading.names)
        self._tested = _getter(reading.tested)
        self._groups = [(group, _getter(keys)) for group, keys in reading.groups.items()]
        self._numbers = reading.numbers

    @classmethod
    def of(
        cls, trees: Iterable[tuple[nodes.Template, Filters]], numbers: Collection[str]
    ) -> TypeCheck | None:
        """Each with the filters that it has; ``numbers`` names those that take numbers. None: they do more
        than this understands."""
        reading = _Reading(numbers)
        try:
            for tree, filters in trees:
                reading.read(tree, filters)
        except _Unclear:
            return None
        return cls(reading)

    def passes(self, context: Context) -> bool:
        """True: nothing that these templates do can fail. False: perhaps it does."""
        try:
            if not simple(self._names(context)) or not set(map(type, self._tested(context))) <= _TESTED:
                return False
            for group, taken in self._groups:
                for row in group.rows(context):
                    if not simple(taken(row)):
                        return False
            for number in self._numbers:
                number.prove(context)
        except Exception:  # noqa: BLE001 - something is missing, or no number: rendering says it in good words
            return False
        return True


def _getter(names: Collection[str]) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    """Raises KeyError for what is not there."""
    if len(names) > 1:
        return itemgetter(*names)
    return lambda row: tuple([row[name] for name in names])


class _Unclear(Exception):
    """It may fail for more reasons than the types of values."""


class _Reading:
    """What templates read."""

    def __init__(self, numbers: Collection[str]) -> None:
        self.names: set[str] = set()
        self.tested: set[str] = set()
        self.groups: defaultdict[_Group, set[str]] = defaultdict(set)
        self.numbers: list[_Number] = []
        self._of_numbers = numbers
        self._filters: Filters = {}
        self._loop: tuple[str, _Group] | None = None  # its variable, and what that goes over

    def read(self, tree: nodes.Template, filters: Filters) -> None:
        """Raises _Unclear."""
        self._filters = filters
        self._statements(tree.body)

    def _statements(self, body: Iterable[nodes.Node]) -> None:
        for node in body:
            if isinstance(node, nodes.Output):
                for one in node.nodes:
                    self._value(one)
            elif isinstance(node, nodes.If):
                self._condition(node.test)
                for part in (node.body, node.elif_, node.else_):
                    self._statements(part)
            elif isinstance(node, nodes.For):
                self._over(node)
            else:
                raise _Unclear

    def _over(self, node: nodes.For) -> None:
        if self._loop or not (isinstance(node.iter, nodes.Name) and isinstance(node.target, nodes.Name)):
            raise _Unclear
        group = _Group(node.iter.name, listed=True)
        self.groups[group].update()
        self._loop = (node.target.name, group)
        self._statements(node.body)
        self._loop = None
        self._statements(node.else_)

    def _condition(self, node: nodes.Node) -> None:
        if isinstance(node, nodes.Name) and not self._is_entry(node):
            self.tested.add(node.name)
        elif isinstance(node, nodes.Not):
            self._condition(node.node)
        elif isinstance(node, nodes.And | nodes.Or):
            self._condition(node.left)
            self._condition(node.right)
        elif isinstance(node, nodes.Compare) and all(one.op in _EQUAL for one in node.ops):
            for side in (node.expr, *(one.expr for one in node.ops)):
                self._value(side)
        else:
            self._value(node)

    def _value(self, node: nodes.Node) -> None:
        if isinstance(node, nodes.Const | nodes.TemplateData):
            return
        if isinstance(node, nodes.Name | nodes.Getattr):
            group, key = self._place(node)
            (self.names if group is None else self.groups[group]).add(key)
        elif isinstance(node, nodes.Filter) and node.node is not None:
            self._filtered(node, node.node)
        else:
            raise _Unclear

    def _filtered(self, node: nodes.Filter, value: nodes.Expr) -> None:
        if node.kwargs or node.dyn_args or node.dyn_kwargs:
            raise _Unclear
        self._value(value)
        if node.name in self._of_numbers:
            arguments = tuple([self._argument(one) for one in node.args])
            self.numbers.append(_Number(self._filters[node.name], *self._place(value), arguments))
        elif node.name not in _FILTERS or node.args:
            raise _Unclear

    def _argument(self, node: nodes.Expr) -> nodes.Const | nodes.Name:
        if isinstance(node, nodes.Const):
            return node
        if not isinstance(node, nodes.Name) or self._is_entry(node):
            raise _Unclear
        self.names.add(node.name)
        return node

    def _place(self, node: nodes.Expr) -> tuple[_Group | None, str]:
        """Whose, and under which name. An attribute of mappings themselves would come before their keys."""
        if isinstance(node, nodes.Name) and not self._is_entry(node):
            return None, node.name
        if not isinstance(node, nodes.Getattr) or not isinstance(node.node, nodes.Name):
            raise _Unclear
        if hasattr(dict, node.attr):
            raise _Unclear
        if self._loop is None or not self._is_entry(node.node):
            return _Group(node.node.name, listed=False), node.attr
        if node.node.name != self._loop[0]:
            raise _Unclear
        return self._loop[1], node.attr

    def _is_entry(self, node: nodes.Name) -> bool:
        """Of the list that is gone over, or the loop itself."""
        return self._loop is not None and node.name in (self._loop[0], "loop")
