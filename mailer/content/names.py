"""Which names a template reads, and which it makes itself."""

from __future__ import annotations

from jinja2 import nodes

from mailer.content.columns import identifier


def row_names(tree: nodes.Template) -> set[str]:
    """Identifiers behind ``row["First Name"]``."""
    found = {
        item.attr
        for item in tree.find_all(nodes.Getattr)
        if isinstance(item.node, nodes.Name) and item.node.name == "row"
    }
    for item in tree.find_all(nodes.Getitem):
        if (
            isinstance(item.node, nodes.Name)
            and item.node.name == "row"
            and isinstance(item.arg, nodes.Const)
        ):
            found.add(str(item.arg.value))
    return {identifier(name) for name in found}


def defined_names(tree: nodes.Template) -> set[str]:
    """What the top level of a template defines for the others."""
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, nodes.Macro):
            found.add(node.name)
        elif isinstance(node, nodes.Assign | nodes.AssignBlock):
            found |= {name.name for name in node.find_all(nodes.Name) if name.ctx == "store"}
        elif isinstance(node, nodes.Import):
            found.add(node.target)
        elif isinstance(node, nodes.FromImport):
            found |= {name if isinstance(name, str) else name[1] for name in node.names}
    return found
