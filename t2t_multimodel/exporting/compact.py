"""Makes the graph of a SavedModel small. It computes what it computed; what is there twice, or for people, goes.

Of a traced model nine tenths are names of nodes, shapes that are inferred again when it is loaded, operations that do
nothing (Identity), and constants, lengths and reads of variables that each layer made for itself.
"""

import itertools
import string
from pathlib import Path
from typing import Any

from t2t_multimodel.files import write_file

# Attributes of nodes that say nothing about what they compute.
_NOTES = {
    "_class",
    "_collective_manager_ids",
    "_gradient_op_type",
    "_has_manual_control_dependencies",
    "_output_shapes",
}
_COPIES = {"Identity", "IdentityN"}
_READS = {"ReadVariableOp"}  # stateful to TensorFlow; where nothing assigns, each reads the same
_LETTERS = string.ascii_lowercase + string.digits


def compact(folder: Path) -> None:
    """Rewrites `saved_model.pb` in a folder; signatures, variables and assets stay as they are."""
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    path = folder / "saved_model.pb"
    saved = SavedModel.FromString(path.read_bytes())
    for meta_graph in saved.meta_graphs:
        library = meta_graph.graph_def.library.function
        assigning = _assigning(library)
        for function in library:
            _Body(function, function.signature.name in assigning).shrink()
        _shrink_outside(meta_graph)
    write_file(path, saved.SerializeToString(deterministic=True))
    _write_fingerprint(folder)


class _Body:
    """The nodes of a `FunctionDef`, which are named "node:output:number" where they are read, "^node" where awaited."""

    def __init__(self, function: Any, assigns: bool) -> None:
        self._function, self._assigns = function, assigns
        self._arguments = {argument.name for argument in function.signature.input_arg}
        self._returned = set(function.ret.values())
        self._same: dict[str, str] = {}  # a node that goes → the one that computes the same, or that it copied
        self._copied: dict[str, str] = {}  # what a copy gave → what it copied
        self._effects: set[str] = set()  # nodes that do more than compute, and those that wait for such

    def shrink(self) -> None:
        kept: list[Any] = []
        made: dict[Any, str] = {}
        for node in _in_order(self._function.node_def, self._arguments):
            _strip(node)
            node.input[:] = [source for name in node.input if (source := self._source(name))]
            if self._has_effect(node):
                self._effects.add(node.name)
            elif node.op in _COPIES and not self._returns_argument(node):
                self._leave_out_copy(node)
                continue
            else:
                key = _key(node)
                first = made.setdefault(key, node.name)
                if first != node.name:
                    self._same[node.name] = first
                    continue
            kept.append(node)
        function = self._function
        for name, source in [*function.ret.items()]:
            function.ret[name] = self._source(source)
        self._keep_awaited()
        needed = self._needed(kept)
        del function.node_def[:]
        function.node_def.extend(node for node in kept if node.name in needed)
        self._shorten_names()

    def _source(self, name: str) -> str:
        """What an input is to be read from, or "" where nothing need be awaited."""
        if name.startswith("^"):
            node = self._same.get(name[1:], name[1:])
            return f"^{node}" if node in self._effects else ""
        name = self._copied.get(name, name)
        node, colon, output = name.partition(":")
        return self._same.get(node, node) + colon + output

    def _has_effect(self, node: Any) -> bool:
        from tensorflow.python.framework import op_def_registry

        if any(name.startswith("^") for name in node.input):
            return True
        definition = op_def_registry.get(node.op)
        if node.op in _READS and not self._assigns:
            return False
        return definition is None or definition.is_stateful

    def _returns_argument(self, node: Any) -> bool:
        """Whether a copy is what the function returns of an argument, which it may not return itself."""
        returned = any(name.split(":")[0] == node.name for name in self._returned)
        return returned and any(name.split(":")[0] in self._arguments for name in node.input)

    def _leave_out_copy(self, node: Any) -> None:
        for number, source in enumerate(node.input):
            self._copied[f"{node.name}:output:{number}"] = source
        self._same[node.name] = node.input[0].split(":")[0]

    def _keep_awaited(self) -> None:
        """Leaves out what callers would wait for though it has no effect."""
        function = self._function
        awaited = {name: self._same.get(node, node) for name, node in function.control_ret.items()}
        awaited = {name: node for name, node in awaited.items() if node in self._effects}
        function.control_ret.clear()
        names = [name for name in function.signature.control_output if name in awaited]
        for number, name in enumerate(names):
            function.control_ret[_short(number)] = awaited[name]
        function.signature.control_output[:] = [_short(number) for number in range(len(names))]

    def _needed(self, nodes: list[Any]) -> set[str]:
        needed = self._effects | {source.split(":")[0] for source in self._function.ret.values()}
        for node in reversed(nodes):
            if node.name in needed:
                needed |= {name.lstrip("^").split(":")[0] for name in node.input}
        return needed

    def _shorten_names(self) -> None:
        """Of nodes, and of arguments that are variables; others are what callers know."""
        from tensorflow.core.framework.types_pb2 import DT_RESOURCE

        function = self._function
        resources = [a for a in function.signature.input_arg if a.type == DT_RESOURCE]
        taken = self._arguments - {argument.name for argument in resources}
        names = (name for name in map(_short, itertools.count()) if name not in taken)
        short: dict[str, str] = {}
        for each in [*resources, *function.node_def]:
            short[each.name] = each.name = next(names) if each.name not in short else short[each.name]

        def renamed(name: str) -> str:
            mark = "^" if name.startswith("^") else ""
            node, colon, output = name.removeprefix("^").partition(":")
            return mark + short.get(node, node) + colon + output

        for node in function.node_def:
            node.input[:] = [renamed(name) for name in node.input]
            node.ClearField("experimental_debug_info")
        for mapping in (function.ret, function.control_ret):
            for key, name in [*mapping.items()]:
                mapping[key] = renamed(name)
        for place, argument in enumerate(function.signature.input_arg):
            if argument.type == DT_RESOURCE:
                function.arg_attr.pop(place, None)


def _assigning(library: Any) -> set[str]:
    """The names of the functions that change variables, themselves or by one that they call."""
    calls, found = {}, set()
    for function in library:
        name = function.signature.name
        calls[name] = {called for node in function.node_def for called in _called(node)}
        if any("Assign" in node.op or "Scatter" in node.op and "Resource" in node.op for node in function.node_def):
            found.add(name)
    while more := {name for name, called in calls.items() if called & found} - found:
        found |= more
    return found


def _called(node: Any) -> list[str]:
    found = []
    for value in node.attr.values():
        found += [value.func.name] if value.HasField("func") else []
        found += [function.name for function in value.list.func]
    return found


def _in_order(nodes: Any, arguments: set[str]) -> list[Any]:
    """The nodes, each after those that it reads or awaits."""
    waiting, ordered, done = list(nodes), [], set(arguments)
    while waiting:
        later = []
        for node in waiting:
            ready = all(name.lstrip("^").split(":")[0] in done for name in node.input)
            (ordered if ready else later).append(node)
            if ready:
                done.add(node.name)
        if len(later) == len(waiting):
            raise ValueError(f"the nodes {later[0].name!r} and others wait for each other")
        waiting = later
    return ordered


def _strip(node: Any) -> None:
    """Leaves out notes, and attributes that have their default value."""
    from tensorflow.python.framework import op_def_registry

    definition = op_def_registry.get(node.op)
    defaults = {a.name: a.default_value for a in definition.attr if a.HasField("default_value")} if definition else {}
    for name in [*node.attr]:
        if name in _NOTES or (name in defaults and node.attr[name] == defaults[name]):
            del node.attr[name]


def _key(node: Any) -> Any:
    """What nodes share that compute the same."""
    attributes = tuple((n, node.attr[n].SerializeToString(deterministic=True)) for n in sorted(node.attr))
    return node.op, node.device, tuple(node.input), attributes


def _short(number: int) -> str:
    """a, b, …, z, aa, …: a letter, then letters and digits."""
    name = ""
    while number >= len(string.ascii_lowercase):
        number, rest = divmod(number - len(string.ascii_lowercase), len(_LETTERS))
        name = _LETTERS[rest] + name
    return string.ascii_lowercase[number] + name


def _shrink_outside(meta_graph: Any) -> None:
    """Of the graph outside of functions: notes, reads that nothing asks for, and the long names of variables' nodes.

    (Their `shared_name` stays. Other nodes are known by name to signatures and to what restores.)
    """
    graph = meta_graph.graph_def
    read = {name.lstrip("^").split(":")[0] for node in graph.node for name in node.input}
    kept = [node for node in graph.node if node.op not in _READS or node.name in read]
    taken = {node.name for node in kept}
    names = (name for name in map(_short, itertools.count()) if name not in taken)
    short = {node.name: next(names) for node in kept if node.op == "VarHandleOp"}
    for node in kept:
        _strip(node)
        node.attr.pop("debug_name", None)
        node.ClearField("experimental_debug_info")
        node.name = short.get(node.name, node.name)
        node.input[:] = [short.get(name, name) for name in node.input]
    copies = [type(node).FromString(node.SerializeToString()) for node in kept]
    del graph.node[:]
    graph.node.extend(copies)


def _write_fingerprint(folder: Path) -> None:
    """That of the new content; a TensorFlow that has no such function reads folders without one."""
    (folder / "fingerprint.pb").unlink(missing_ok=True)
    try:
        from tensorflow.python.saved_model import fingerprinting_utils

        fingerprinting_utils.write_fingerprint(str(folder))
    except (ImportError, AttributeError):
        pass
