"""The fingerprint of a store (arguments, source files, code, vocabulary), and what has changed since it was made.

The code of a problem is every module that defines one of its classes, and what those modules import from their own
folders (for example a grammar beside a problem) and from `data_gen/readers`. Comments, docstrings, formatting and other
problems in the same file are ignored. The core of the framework is ignored too: a change there that alters what is
stored must increase `FORMAT_VERSION` of store_folder.py.
"""

import ast
import hashlib
import importlib.util
import inspect
import json
import os
import pathlib
import sys

from t2t_multimodel.errors import UserError
from t2t_multimodel.problem import Problem
from t2t_multimodel.store_folder import FORMAT_VERSION

# A change of these alters no example.
DECLARATIONS = ("command", "decode_hparams", "description", "metrics", "target_grammar", "vocabulary_size")
_MOST_FILES_LISTED = 1000
_READERS = "t2t_multimodel.data_gen.readers"


def fingerprint(problem, vocabulary, settings):
    """Everything that the store of `problem` depends on, as a plain dict.

    Args:
      vocabulary: the data folder's `Vocabulary`; None if neither side is text.
      settings: {name: value} of data generation.

    Raises:
      UserError: a source file is missing.
    """
    made_from = {
        "format_version": FORMAT_VERSION,
        "arguments": {**problem.arguments(), "splits": tuple(problem.splits)},
        "source_files": _source_files(problem),
        "code": _code(problem),
        "vocabulary": vocabulary.digest if vocabulary else None,
        "settings": settings,
    }
    # Equal to what is read back from the manifest, where a number is finite and a string is valid text.
    text = json.dumps(made_from, default=repr, ensure_ascii=False).encode("utf-8", "replace")
    return json.loads(text, parse_constant=str)


def changes(before, now):
    """The differences between two fingerprints, a list of clauses such as "argument sentences was 100, is 200"."""
    found = []
    nouns = {"arguments": "argument", "source_files": "source file", "code": "the code of", "settings": "setting"}
    for part, noun in nouns.items():
        old, new = before.get(part, {}), now.get(part, {})
        for name in sorted({*old, *new}):
            if old.get(name) == new.get(name):
                continue
            if part == "code":
                found.append(f"{noun} {name} {_happened(name, old, new)}")
            else:
                found.append(f"{noun} {name} was {_shown(old, name)}, is {_shown(new, name)}")
    for part in ("format_version", "vocabulary"):
        old, new = before.get(part), now.get(part)
        if old != new:
            found.append(f"the {part.replace('_', ' ')} was {str(old or 'absent')[:8]}, is {str(new or 'absent')[:8]}")
    return found


def _happened(name, old, new):
    return "changed" if name in old and name in new else "is new" if name in new else "is not used any more"


def _shown(values, name):
    value = values.get(name, "absent")
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "…"


def _source_files(problem):
    """{path: [bytes, modification time]}; for very many files one digest of it."""
    found = {}
    for path in problem.source_files():
        try:
            status = os.stat(path)
        except OSError as error:
            raise UserError(f"problem {problem.name}: can't read its source {path}: {error.strerror}") from error
        name = str(path).encode("utf-8", "backslashreplace").decode()
        found[name] = [status.st_size, status.st_mtime_ns]
    if len(found) <= _MOST_FILES_LISTED:
        return found
    digest = hashlib.sha256(json.dumps(sorted(found.items())).encode()).hexdigest()
    total = sum(size for size, _ in found.values())
    return {f"all {len(found)} files, {total} bytes": digest[:16]}


def _code(problem):
    """{module name: digest of its code}."""
    classes = [cls for cls in type(problem).__mro__ if issubclass(cls, Problem) and cls is not Problem]
    defining = list(dict.fromkeys(cls.__module__ for cls in classes if cls.__module__ != Problem.__module__))
    own = {name.split(".")[0] for name in defining}
    folders = {path.parent for name in defining if (path := _file_of(name))}

    def is_ours(module_name):  # without find_spec, which imports the parent packages
        top = module_name.split(".")[0]
        return top in own or any((folder / f"{top}.py").exists() or (folder / top).is_dir() for folder in folders)

    waiting = list(defining)
    found = {}
    while waiting:
        name = waiting.pop()
        path = _file_of(name)
        if name in found or path is None:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if name in defining:
            tree.body = _without_other_problems(tree.body, sys.modules[name], classes)
        found[name] = hashlib.sha256(repr(_plain(tree)).encode()).hexdigest()[:16]
        for imported in _imports(tree, name, path.name == "__init__.py", is_ours):
            file = _file_of(imported) if is_ours(imported) else None
            near = file and any(folder in file.parents for folder in folders)
            if near or (file and imported.startswith(_READERS)):
                waiting.append(imported)
    return dict(sorted(found.items()))


def _file_of(module_name):
    """The source file of a module, loaded or not; None if there is none."""
    module = sys.modules.get(module_name)
    try:
        if module is not None:
            file = inspect.getsourcefile(module)
        else:
            spec = importlib.util.find_spec(module_name)
            file = spec.origin if spec and spec.has_location else None
    except (ImportError, TypeError, ValueError, AttributeError):
        return None
    path = pathlib.Path(file).resolve() if file else None
    return path if path and path.suffix == ".py" and path.exists() else None


def _without_other_problems(body, module, classes):
    """`body` without the problem classes that are not in `classes` and that no remaining code mentions."""

    def is_other(node):
        cls = getattr(module, node.name, None) if isinstance(node, ast.ClassDef) else None
        return inspect.isclass(cls) and issubclass(cls, Problem) and cls not in classes

    kept = [node for node in body if not is_other(node)]
    others = [node for node in body if is_other(node)]
    while others:
        mentioned = {name for node in kept for name in _names(node)}
        found = [node for node in others if node.name in mentioned]
        if not found:
            break
        kept += found
        others = [node for node in others if node not in found]
    return [node for node in body if node in kept]


def _declares_only(node):
    """Whether a statement only sets attributes in `DECLARATIONS`."""
    targets = node.targets if isinstance(node, ast.Assign) else []
    return bool(targets) and all(isinstance(target, ast.Name) and target.id in DECLARATIONS for target in targets)


def _names(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr


def _imports(tree, module_name, is_package, is_ours):
    """The names of the modules that a module imports."""
    package = module_name.split(".") if is_package else module_name.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                # The sub-module, not its package: the package's __init__ may import much more.
                inside = f"{base}.{alias.name}" if base else alias.name
                yield inside if is_ours(inside) and _file_of(inside) else base


def _plain(node):
    """A syntax tree as tuples, without docstrings, positions and fields that only some Python versions have."""
    if isinstance(node, list):
        return [_plain(n) for n in node]
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = dict(ast.iter_fields(node))
    if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and ast.get_docstring(node):
        fields["body"] = node.body[1:]
    if isinstance(node, ast.ClassDef):
        fields["body"] = [part for part in fields["body"] if not _declares_only(part)]
    kept = [(name, _plain(value)) for name, value in fields.items() if value not in (None, []) and name != "ctx"]
    return (type(node).__name__, kept)
