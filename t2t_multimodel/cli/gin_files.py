"""Reads gin files and bindings as settings: `HParams.name = literal`, macros of literals, and includes of such files.

Nothing is imported, called or looked up: gin's parser turns the text into statements, and all others are refused. So a
stranger's file, such as the operative_config.gin of a run, can set hyper-parameters and nothing else.
"""

import dataclasses
import os
from collections.abc import Callable, Iterator
from typing import Any

from t2t_multimodel.errors import UserError, unknown_name
from t2t_multimodel.hyperparameters import field_types
from t2t_multimodel.json_files import read_bytes

_SELECTORS = ("HParams", "t2t_multimodel.HParams")
_MOST_BYTES = 1 << 20  # of a file
_MOST_FILES = 100  # that one file may include, counted each time
_RULE = "a gin file here has lines HParams.name = literal, macros of literals, and includes of such files"


@dataclasses.dataclass(frozen=True)
class _Macro:
    """%name, before its value is known."""

    name: str


@dataclasses.dataclass(frozen=True)
class _Reference:
    """@name, which is refused."""

    name: str


class GinSettings:
    """What gin files and bindings say; later statements override earlier ones."""

    def __init__(self) -> None:
        self._macros: dict[str, Any] = {}
        self._defined: dict[str, str] = {}  # macro: where
        self._used: set[str] = set()
        self._bound: dict[str, tuple[Any, str]] = {}  # field: (value, where it is bound)
        self._files = 0

    def add_file(self, path: str, where: str) -> None:
        """Adds the statements of a file; raises `UserError`, for what is refused; its line begins with `where`."""
        self._files = 0
        self._add_file(path, where, ())

    def add_text(self, text: str, where: str) -> None:
        """Adds the statements of `text`; its includes are relative to the working directory."""
        self._files = 0
        self._add(text, where, os.getcwd(), ())

    def values(self) -> dict[str, Any]:
        """{field of HParams: value}, the macros put in.

        Raises:
          UserError: a macro without a value, or one that nothing uses and that has the name of an hparam.
        """
        values = {name: self._resolved(value, where, ()) for name, (value, where) in self._bound.items()}
        for name in sorted(self._macros.keys() - self._used):
            if name in field_types() or name in _SELECTORS:
                line = f"HParams.{name}" if name not in _SELECTORS else "HParams.hidden_size"
                raise UserError(
                    f"{self._defined[name]}: {name} is a macro, which sets nothing, and nothing uses it; "
                    f"an hparam is set by {line} = …"
                )
        return values

    def _add_file(self, path: str, where: str, including: tuple[str, ...]) -> None:
        place = os.path.realpath(path)
        if place in including:
            raise UserError(f"{where}: {path} includes itself; remove that include")
        self._files += 1
        if self._files > _MOST_FILES:
            raise UserError(f"{where}: it includes more than {_MOST_FILES} files; put their lines into one")
        try:
            text = read_bytes(path, _RULE, _MOST_BYTES).decode("utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"{where}: byte {error.start + 1} of {path} is not UTF-8; {_RULE}") from None
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
        self._add(
            text,
            where if not including else f"{where}, included file {path}",
            os.path.dirname(place),
            (*including, place),
        )

    def _add(self, text: str, where: str, folder: str, including: tuple[str, ...]) -> None:
        from gin import config_parser

        for statement in _statements(text, where):
            if isinstance(statement, config_parser.BindingStatement):
                self._bind(statement, f"{where}, line {statement.location.line_num}")
                continue
            line = f"{where}, line {statement.location.line_num}"
            if isinstance(statement, config_parser.IncludeStatement):
                self._add_file(_inside(statement.filename, folder, line), line, including)
            elif isinstance(statement, config_parser.BlockDeclaration):
                _check_selector(statement.scope, statement.selector, line)
            else:
                raise UserError(f"{line}: an import is refused: {_RULE}")

    def _bind(self, statement: Any, where: str) -> None:
        value = _literal(statement.value, where)
        if not statement.arg_name:
            if statement.scope or "." in statement.selector:
                raise UserError(f"{where}: the macro {statement.selector!r} has a scope or a point; {_RULE}")
            self._macros[statement.selector], self._defined[statement.selector] = value, where
            return
        _check_selector(statement.scope, statement.selector, where)
        self._bound[statement.arg_name] = value, where

    def _resolved(self, value: Any, where: str, inside: tuple[str, ...]) -> Any:
        if isinstance(value, (tuple, list)):
            items = [self._resolved(item, where, inside) for item in value]
            if any(isinstance(item, (tuple, list)) for item in items):
                raise UserError(f"{where}: a list in a list is no value of an hparam; {_RULE}")
            return type(value)(items)
        if not isinstance(value, _Macro):
            return value
        if value.name not in self._macros:
            raise unknown_name("macro", f"%{value.name}", [f"%{name}" for name in self._macros], where)
        if value.name in inside:
            raise UserError(f"{where}: the macro %{value.name} is defined by itself; give it a literal")
        self._used.add(value.name)
        return self._resolved(self._macros[value.name], where, (*inside, value.name))


def _statements(text: str, where: str) -> Iterator[Any]:
    """The statements of a gin text; references and macros in it are only names."""
    from gin import config_parser

    class Names(config_parser.ParserDelegate):
        """Looks nothing up. (What it raised, gin would decorate with lines of its own.)"""

        def configurable_reference(self, scoped_configurable_name: str, evaluate: bool) -> _Reference:
            return _Reference(scoped_configurable_name)

        def macro(self, macro_name: str) -> _Macro:
            return _Macro(macro_name)

    parser = _parsed(lambda: config_parser.ConfigParser(text, Names()), where)
    while statement := _parsed(parser.parse_statement, where):
        yield statement


def _parsed(parse: Callable[[], Any], where: str) -> Any:
    try:
        return parse()
    # The parser and Python's tokenizer beneath it raise whatever hostile text makes them run into.
    except Exception as error:
        said = (str(error.args[0] if error.args else "").strip() or type(error).__name__).splitlines()[0]
        location = error.args[1] if isinstance(error, SyntaxError) and len(error.args) > 1 else ()
        line = getattr(location, "line_num", None) or (location[1] if len(location) > 1 else None)
        if "malformed node" in said:
            said = "the value is not a Python literal (text needs quotes)"
        if isinstance(error, RecursionError):
            said = "it is nested too deeply"
        raise UserError(f"{where}{f', line {line}' if isinstance(line, int) else ''}: {said}; {_RULE}") from None


def _literal(value: Any, where: str) -> Any:
    """`value`, which may be the value of an hparam: a plain literal or macro, or a tuple or list of such."""
    for item in value if isinstance(value, (tuple, list)) else [value]:
        if isinstance(item, _Reference):
            raise UserError(f"{where}: the reference @{item.name} is refused: {_RULE}")
        if isinstance(item, _Macro) and not item.name.isidentifier():
            raise UserError(f"{where}: %{item.name} is no macro of this file: {_RULE}")
        if not isinstance(item, (bool, int, float, str, _Macro)):
            raise UserError(f"{where}: {type(item).__name__} is no value of an hparam; {_RULE}")
    return value


def _check_selector(scope: str, selector: str, where: str) -> None:
    if scope:
        raise UserError(f"{where}: the scope {scope!r} is refused: {_RULE}")
    if selector not in _SELECTORS:
        raise unknown_name("gin name", selector, ["HParams"], f"{where}; e.g. HParams.hidden_size = 128")


def _inside(name: str, folder: str, where: str) -> str:
    """The path of an included file, in the folder of the including one or in the working directory.

    Raises:
      UserError: there is none, or it is elsewhere.
    """
    outside = ""
    for base in dict.fromkeys((os.path.realpath(folder), os.path.realpath(os.getcwd()))):
        path = os.path.join(base, name)
        try:
            if not os.path.lexists(path):
                continue
            real = os.path.realpath(path)
        except ValueError:  # a NUL in the name
            break
        if os.path.commonpath([base, real]) == base:
            return path
        outside = real
    if outside:
        raise UserError(
            f"{where}: the included file {name} is not inside {folder}; give it by a --gin_file of its own, "
            "before this one"
        )
    raise UserError(f"{where}: the included file {name} does not exist in {folder}")
