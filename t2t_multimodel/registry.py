"""The registries: everything that a user may add, each by name; `ALL` lists them.

Adding a problem, from a user's own folder (`--t2t_usr_dir`), an installed package (`packages.py`) or here:

    @register_problem
    class CityBirds(LabelledImages):
        \"\"\"Which of 40 birds is in the picture.\"\"\"
        directory = "birds"
        image = Image(64, 64, 3)

The name is the class's name in snake_case (`city_birds`) unless the class says `name = "..."`.
"""

import dataclasses
import importlib
import inspect
import os
import re
import reprlib
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from t2t_multimodel import packages
from t2t_multimodel.errors import UserError, unknown_name

if TYPE_CHECKING:
    from t2t_multimodel.hyperparameters import HParams
    from t2t_multimodel.mixture import Mixture
    from t2t_multimodel.modalities import Modality, ProblemSpec
    from t2t_multimodel.problem import Problem

T = TypeVar("T")
MakesProblem = TypeVar("MakesProblem", bound="Callable[[], Problem]")  # a Problem class, or an object that makes one
MakesHParams = TypeVar("MakesHParams", bound="Callable[[], HParams]")
MakesModel = TypeVar("MakesModel", bound="Callable[[HParams, Sequence[ProblemSpec]], Any]")


@dataclasses.dataclass(frozen=True)
class Entry(Generic[T]):
    """One registered thing: what it is, what it says of itself, where it was written."""

    name: str
    value: T
    description: str
    source: str  # "file:line"


Snapshot = tuple[dict[str, Entry[T]], dict[str, str]]  # entries and aliases


class Registry(Generic[T]):
    """Names → entries of one kind, with aliases for names that users of old still type."""

    def __init__(self, kind: str, title: str) -> None:
        """Args: kind: what an entry is called. title: what all are called, and where their names are given."""
        self.kind, self.title = kind, title
        self._entries: dict[str, Entry[T]] = {}
        self._aliases: dict[str, str] = {}

    def add(self, name: str, value: T, source: str | None = None) -> None:
        """Registers `value`, written at `source` ("file:line"); a second one of that name is refused, naming both."""
        entry = Entry(name, value, _first_line(value), source or _source(value))
        before = self._entries.get(name)
        stands_for = self._aliases.get(name, name)
        if stands_for != name and stands_for in self._entries:
            raise UserError(
                f"{self.kind} {name!r} of {entry.source}: that is another name of {stands_for!r}, of "
                f"{self._entries[stands_for].source}; rename one of them"
            )
        if before and before.source != entry.source:
            raise UserError(
                f"{self.kind} {name!r} is registered twice: in {before.source} and in {entry.source}; "
                "rename one of them"
            )
        self._entries[name] = entry

    def alias(self, old: str, name: str) -> None:
        """Makes `old` resolve to `name`; refused where `old` stands for something else already."""
        taken = self._entries.get(self._aliases.get(old, old))
        if taken and taken.name != name:
            new = self._entries[name].source if name in self._entries else "?"
            raise UserError(
                f"{self.kind} {old!r} is taken by {taken.name!r} of {taken.source}, so it can't be another name of "
                f"{name!r} of {new}; rename one of them"
            )
        self._aliases[old] = name

    def snapshot(self) -> Snapshot[T]:
        """What is registered now; for `restore` and `added_since`."""
        return dict(self._entries), dict(self._aliases)

    def restore(self, snapshot: Snapshot[T]) -> None:
        """Forgets what was registered since `snapshot` was taken."""
        self._entries, self._aliases = dict(snapshot[0]), dict(snapshot[1])

    def added_since(self, snapshot: Snapshot[T]) -> list[str]:
        """The names registered since `snapshot` was taken, sorted."""
        return sorted(self._entries.keys() - snapshot[0].keys())

    def resolve(self, name: str) -> str:
        """The registered name that `name` stands for; raises `UserError` with the nearest names."""
        if not isinstance(name, str):
            raise UserError(f"the name of a {self.kind} must be a string, not {name!r:.80}")
        load()
        target = self._aliases.get(name, name)
        if target in self._entries:
            return target
        if name in self._aliases:
            raise UserError(
                f"{self.kind} {name!r} is the old name of {target!r}, which does not ship yet; "
                f"--registry_help lists what does"
            )
        shipped_aliases = [old for old, new in self._aliases.items() if new in self._entries]
        failed = "; ".join(f"package {p.distribution} is left out: {p.failure}" for p in _packages if p.failure)
        own = "" if os.environ.get("T2T_USR_DIR") else "one of your own is found by --t2t_usr_dir=FOLDER"
        raise unknown_name(self.kind, name, [*self._entries, *shipped_aliases], "; ".join(filter(None, (own, failed))))

    def __contains__(self, name: str) -> bool:
        load()
        return self._aliases.get(name, name) in self._entries

    def entry(self, name: str) -> Entry[T]:
        return self._entries[self.resolve(name)]

    def get(self, name: str) -> T:
        return self.entry(name).value

    def names(self) -> list[str]:
        load()
        return sorted(self._entries)

    def entries(self) -> list[Entry[T]]:
        return [self._entries[name] for name in self.names()]

    def aliases_of(self, name: str) -> list[str]:
        """The other names under which the registered `name` resolves."""
        load()
        return sorted(old for old, new in self._aliases.items() if new == name)


problems: Registry["Callable[[], Problem]"] = Registry(
    "problem", "Problems (--problem; <name>_rev swaps the sides of one from text to text)"
)
mixtures: Registry["Mixture"] = Registry("mixture", "Mixtures (--problem; or written: --problem=a,b:2)")
models: Registry["Callable[[HParams, Sequence[ProblemSpec]], Any]"] = Registry("model", "Models (--model)")
hparams_sets: Registry["Callable[[], HParams]"] = Registry("hparams set", "Hparams sets (--hparams_set)")
modalities: Registry["type[Modality]"] = Registry("modality", "Modalities (a problem's inputs and targets)")
metrics: Registry[Any] = Registry("metric", "Metrics (a problem's metrics)")
optimizers: Registry[Any] = Registry("optimizer", "Optimizers (--hparams=optimizer=…)")
schedules: Registry[Any] = Registry(
    "learning rate schedule", "Learning rate schedules (--hparams=learning_rate_schedule=…)"
)
grammars: Registry[Any] = Registry("grammar", "Grammars (a problem's target_grammar)")
ALL: tuple[Registry[Any], ...] = (
    problems,
    mixtures,
    models,
    hparams_sets,
    modalities,
    metrics,
    optimizers,
    schedules,
    grammars,
)

_SHIPPED = (
    "t2t_multimodel.modalities",
    "t2t_multimodel.problems",
    "t2t_multimodel.hparams",
    "t2t_multimodel.models",
    "t2t_multimodel.metrics",
    "t2t_multimodel.training.optimizer",
    "t2t_multimodel.decoding.grammars",
)
_loaded = False
_packages: list[packages.InstalledPackage] = []  # what became of the installed packages that register something


@overload
def register_problem(cls: MakesProblem) -> MakesProblem: ...
@overload
def register_problem(*, aliases: Iterable[str] = ()) -> Callable[[MakesProblem], MakesProblem]: ...
def register_problem(cls: Any = None, *, aliases: Iterable[str] = ()) -> Any:
    """Class decorator: registers a `Problem` class under its `name`, or its own name in snake_case."""

    def register(cls: Any) -> Any:
        from t2t_multimodel.problem import Problem

        is_class = inspect.isclass(cls) and issubclass(cls, Problem)
        if not is_class and not (isinstance(cls, Problem) and callable(cls)):  # such as TfdsProblem("…", …)
            raise UserError(f"@register_problem stands before {_source(cls)}, which is no class derived from Problem")
        if not cls.__dict__.get("name"):
            cls.name = snake_case(cls.__name__)
        return _add(problems, cls.name, cls, aliases)

    return register(cls) if cls is not None else register


@overload
def register_hparams(function: MakesHParams) -> MakesHParams: ...
@overload
def register_hparams(*, aliases: Iterable[str] = ()) -> Callable[[MakesHParams], MakesHParams]: ...
def register_hparams(function: Any = None, *, aliases: Iterable[str] = ()) -> Any:
    """Function decorator: registers a function that returns an `HParams`, under the function's name."""
    return _by_its_name(hparams_sets, function, aliases)


def register_model(name: str, *, aliases: Iterable[str] = ()) -> Callable[[MakesModel], MakesModel]:
    """Decorator: registers a function `(hparams, specs) -> keras model`; see `models/__init__.py`."""
    return lambda factory: _add(models, name, factory, aliases)


def register_mixture(mixture: "Mixture", *, aliases: Iterable[str] = ()) -> "Mixture":
    """Registers a `Mixture` under its name."""
    if not all(hasattr(mixture, name) for name in ("name", "problems", "source")):
        raise UserError(f"register_mixture takes a Mixture, not {reprlib.repr(mixture)}")
    return _add(mixtures, mixture.name, mixture, aliases, mixture.source)


def register_modality(cls: Any = None, *, aliases: Iterable[str] = ()) -> Any:
    """Class decorator: registers a modality under its `modality_name`, or its own name in snake_case."""

    def register(cls: Any) -> Any:
        if not inspect.isclass(cls):
            raise UserError(f"@register_modality stands before {_source(cls)}, which is no class")
        name = cls.__dict__.get("modality_name") or snake_case(cls.__name__)
        setattr(cls, "modality_name", name)  # noqa: B010, type checkers can't know this attribute
        return _add(modalities, name, cls, aliases)

    return register(cls) if cls is not None else register


def register_metric(metric: Any = None, *, aliases: Iterable[str] = ()) -> Any:
    """Registers a `Metric`, a class or an instance, under its `name`, or the class's in snake_case; see
    `metrics/base.py`. `metrics.get(name)` is the instance.
    """

    def register(metric: Any) -> Any:
        is_class = inspect.isclass(metric)
        if is_class and not metric.__dict__.get("name"):
            metric.name = snake_case(metric.__name__)
        made = metric() if is_class else metric
        if not all(hasattr(made, each) for each in ("score", "higher_is_better", "perfect", "answers", "adds_up")):
            raise UserError(f"@register_metric stands before {_source(metric)}, which is no Metric")
        if not getattr(made, "name", None):
            made.name = snake_case(type(made).__name__)
        _add(metrics, made.name, made, aliases)
        return metric

    return register(metric) if metric is not None else register


def register_optimizer(function: Any = None, *, aliases: Iterable[str] = ()) -> Any:
    """Function decorator: registers, under its name, a function `(hparams, variables) -> Keras optimizer`.

    The optimizer's own name must be the function's: `keras.optimizers.SGD(hparams.learning_rate, name="my_sgd")`.
    """
    return _by_its_name(optimizers, function, aliases)


def register_schedule(function: Any = None, *, aliases: Iterable[str] = ()) -> Any:
    """Function decorator: registers, under its name, a function `(hparams, step, train_steps) -> learning rate`.

    Steps count from 0; `hparams.learning_rate` is the peak.
    """
    return _by_its_name(schedules, function, aliases)


def register_grammar(cls: Any = None, *, aliases: Iterable[str] = ()) -> Any:
    """Class decorator: registers a grammar of targets under its `name`; see `decoding/grammars.py`."""

    def register(cls: Any) -> Any:
        return _add(grammars, cls.__dict__.get("name") or snake_case(cls.__name__), cls, aliases)

    return register(cls) if cls is not None else register


def problem(name: str) -> "Problem":
    """The problem registered as `name`, made; `<name>_rev` is any reversible problem with its sides swapped."""
    if isinstance(name, str) and name not in problems and name.endswith("_rev") and name[: -len("_rev")] in problems:
        from t2t_multimodel.problem import reversed_problem

        return reversed_problem(problem(name[: -len("_rev")]))
    return problems.get(name)()


def snake_case(name: str) -> str:
    """ "CityBirds" → "city_birds"; "TinyENDE8k" → "tiny_ende8k"."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower()


def installed_packages() -> list[packages.InstalledPackage]:
    """What became of the installed packages that register problems: a list of `packages.InstalledPackage`."""
    load()
    return list(_packages)


def load() -> None:
    """Registers what ships and what installed packages add, once. Look-ups do it, so that imports stay light."""
    global _loaded
    if not _loaded:
        _loaded = True
        for module in _SHIPPED:
            importlib.import_module(module)
        _packages[:] = packages.load(ALL)


def _add(registry: Registry[Any], name: str, value: Any, aliases: Iterable[str], source: str | None = None) -> Any:
    # Python's `inspect` would look a class up by its name, and find the first of two in one file.
    registry.add(name, value, source or _called_from())
    for alias in aliases:
        registry.alias(alias, name)
    return value


def _by_its_name(registry: Registry[Any], function: Any, aliases: Iterable[str]) -> Any:
    """What a decorator of functions returns, with its arguments or without."""

    def register(function: Any) -> Any:
        if not callable(function) or not hasattr(function, "__name__"):
            raise UserError(f"{reprlib.repr(function)} is registered as {registry.kind}, and is no function")
        return _add(registry, function.__name__, function, aliases)

    return register if function is None else register(function)


def _called_from() -> str:
    """The "file:line" outside of this module that the call came from."""
    frame = sys._getframe(1)
    while frame.f_code.co_filename == __file__ and frame.f_back:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _first_line(value: object) -> str:
    text = getattr(value, "description", None) or inspect.getdoc(value) or ""
    return text.strip().split("\n")[0]


def _source(value: Any) -> str:
    source = getattr(value, "source", None)
    if source:
        return source
    try:
        return f"{inspect.getsourcefile(value)}:{inspect.getsourcelines(value)[1]}"
    except (TypeError, OSError):
        return f"{getattr(value, '__module__', '?')}.{getattr(value, '__qualname__', '?')}"
