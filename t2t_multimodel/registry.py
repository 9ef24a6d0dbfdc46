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
import re
import sys

from t2t_multimodel import packages
from t2t_multimodel.errors import UserError, unknown_name


@dataclasses.dataclass(frozen=True)
class Entry:
    """One registered thing: what it is, what it says of itself, where it was written."""

    name: str
    value: object
    description: str
    source: str  # "file:line"


class Registry:
    """Names → entries of one kind, with aliases for names that users of old still type."""

    def __init__(self, kind, title, ships_in=""):
        """Args:
        kind: what an entry is called. title: what all are called, and where their names are given.
        ships_in: a heavy module that registers what ships of this kind, imported at the first look-up of this
          kind; kinds without one are registered by `_SHIPPED`.
        """
        self.kind, self.title = kind, title
        self._ships_in = ships_in
        self._entries = {}
        self._aliases = {}

    def add(self, name, value, source=None):
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

    def alias(self, old, name):
        """Makes `old` resolve to `name`; refused where `old` stands for something else already."""
        taken = self._entries.get(self._aliases.get(old, old))
        if taken and taken.name != name:
            new = self._entries[name].source if name in self._entries else "?"
            raise UserError(
                f"{self.kind} {old!r} is taken by {taken.name!r} of {taken.source}, so it can't be another name of "
                f"{name!r} of {new}; rename one of them"
            )
        self._aliases[old] = name

    def snapshot(self):
        """What is registered now; for `restore` and `added_since`."""
        return dict(self._entries), dict(self._aliases)

    def restore(self, snapshot):
        """Forgets what was registered since `snapshot` was taken, but not what ships."""
        shipped = {name: entry for name, entry in self._entries.items() if self._ships(entry)}
        self._entries, self._aliases = snapshot[0] | shipped, dict(snapshot[1])

    def added_since(self, snapshot):
        """The names registered since `snapshot` was taken, sorted; without what ships."""
        return sorted(n for n in self._entries.keys() - snapshot[0].keys() if not self._ships(self._entries[n]))

    def _ships(self, entry):
        """Whether the heavy module registered it, which may be imported at any time."""
        return bool(self._ships_in) and getattr(entry.value, "__module__", "") == self._ships_in

    def _load(self):
        load()
        if self._ships_in:
            importlib.import_module(self._ships_in)

    def resolve(self, name):
        """The registered name that `name` stands for; raises `UserError` with the nearest names."""
        self._load()
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
        raise unknown_name(self.kind, name, [*self._entries, *shipped_aliases], failed)

    def __contains__(self, name):
        self._load()
        return self._aliases.get(name, name) in self._entries

    def entry(self, name):
        return self._entries[self.resolve(name)]

    def get(self, name):
        return self.entry(name).value

    def names(self):
        self._load()
        return sorted(self._entries)

    def entries(self):
        return [self._entries[name] for name in self.names()]

    def aliases_of(self, name):
        """The other names under which the registered `name` resolves."""
        self._load()
        return sorted(old for old, new in self._aliases.items() if new == name)


problems = Registry("problem", "Problems (--problem; <name>_rev swaps the sides of one from text to text)")
mixtures = Registry("mixture", "Mixtures (--problem; or written: --problem=a,b:2)")
models = Registry("model", "Models (--model)")
hparams_sets = Registry("hparams set", "Hparams sets (--hparams_set)")
modalities = Registry("modality", "Modalities (a problem's inputs and targets)")
metrics = Registry("metric", "Metrics (a problem's metrics)")
optimizers = Registry("optimizer", "Optimizers (--hparams=optimizer=…)")
schedules = Registry("learning rate schedule", "Learning rate schedules (--hparams=learning_rate_schedule=…)")
grammars = Registry("grammar", "Grammars (a problem's target_grammar)", "t2t_multimodel.decoding.grammars")
ALL = (problems, mixtures, models, hparams_sets, modalities, metrics, optimizers, schedules, grammars)

_SHIPPED = (
    "t2t_multimodel.problems",
    "t2t_multimodel.hparams",
    "t2t_multimodel.models",
    "t2t_multimodel.metrics",
    "t2t_multimodel.training.optimizer",
)
_loaded = False
_packages = []  # what became of the installed packages that register something


def register_problem(cls=None, *, aliases=()):
    """Class decorator: registers a `Problem` class under its `name`, or its own name in snake_case."""

    def register(cls):
        from t2t_multimodel.problem import Problem

        is_class = inspect.isclass(cls) and issubclass(cls, Problem)
        if not is_class and not (isinstance(cls, Problem) and callable(cls)):  # such as TfdsProblem("…", …)
            raise UserError(f"@register_problem stands before {_source(cls)}, which is no class derived from Problem")
        if not cls.__dict__.get("name"):
            cls.name = snake_case(cls.__name__)
        return _add(problems, cls.name, cls, aliases)

    return register(cls) if cls is not None else register


def register_hparams(function=None, *, aliases=()):
    """Function decorator: registers a function that returns an `HParams`, under the function's name."""
    return _by_its_name(hparams_sets, function, aliases)


def register_model(name, *, aliases=()):
    """Decorator: registers a function `(hparams, specs) -> keras model`; see `models/__init__.py`."""
    return lambda factory: _add(models, name, factory, aliases)


def register_mixture(mixture, *, aliases=()):
    """Registers a `Mixture` under its name."""
    return _add(mixtures, mixture.name, mixture, aliases, mixture.source)


def register_modality(cls=None, *, aliases=()):
    """Class decorator: registers a modality under its `modality_name`, or its own name in snake_case."""

    def register(cls):
        if not inspect.isclass(cls):
            raise UserError(f"@register_modality stands before {_source(cls)}, which is no class")
        return _add(modalities, cls.__dict__.get("modality_name") or snake_case(cls.__name__), cls, aliases)

    return register(cls) if cls is not None else register


def register_metric(metric=None, *, aliases=()):
    """Registers a `Metric`, a class or an instance, under its `name`, or the class's in snake_case; see
    `metrics/base.py`. `metrics.get(name)` is the instance.
    """

    def register(metric):
        is_class = inspect.isclass(metric)
        if is_class and not metric.__dict__.get("name"):
            metric.name = snake_case(metric.__name__)
        made = metric() if is_class else metric
        if not getattr(made, "name", None):
            made.name = snake_case(type(made).__name__)
        if not all(hasattr(made, each) for each in ("score", "higher_is_better", "perfect", "answers", "adds_up")):
            raise UserError(f"@register_metric stands before {_source(metric)}, which is no Metric")
        _add(metrics, made.name, made, aliases)
        return metric

    return register(metric) if metric is not None else register


def register_optimizer(function=None, *, aliases=()):
    """Function decorator: registers, under its name, a function `(hparams, variables) -> Keras optimizer`.

    The optimizer's own name must be the function's: `keras.optimizers.SGD(hparams.learning_rate, name="my_sgd")`.
    """
    return _by_its_name(optimizers, function, aliases)


def register_schedule(function=None, *, aliases=()):
    """Function decorator: registers, under its name, a function `(hparams, step, train_steps) -> learning rate`.

    Steps count from 0; `hparams.learning_rate` is the peak.
    """
    return _by_its_name(schedules, function, aliases)


def register_grammar(cls=None, *, aliases=()):
    """Class decorator: registers a grammar of targets under its `name`; see `decoding/grammars.py`."""

    def register(cls):
        return _add(grammars, cls.__dict__.get("name") or snake_case(cls.__name__), cls, aliases)

    return register(cls) if cls is not None else register


def problem(name):
    """The problem registered as `name`, made; `<name>_rev` is any reversible problem with its sides swapped."""
    if name not in problems and name.endswith("_rev") and name[: -len("_rev")] in problems:
        from t2t_multimodel.problem import reversed_problem

        return reversed_problem(problem(name[: -len("_rev")]))
    return problems.get(name)()


def snake_case(name):
    """ "CityBirds" → "city_birds"; "TinyENDE8k" → "tiny_ende8k"."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower()


def installed_packages():
    """What became of the installed packages that register problems: a list of `packages.InstalledPackage`."""
    load()
    return list(_packages)


def load():
    """Registers what ships and what installed packages add, once. Look-ups do it, so that imports stay light."""
    global _loaded
    if not _loaded:
        _loaded = True
        for module in _SHIPPED:
            importlib.import_module(module)
        _packages[:] = packages.load(ALL)


def _add(registry, name, value, aliases, source=None):
    # Python's `inspect` would look a class up by its name, and find the first of two in one file.
    registry.add(name, value, source or _called_from())
    for alias in aliases:
        registry.alias(alias, name)
    return value


def _by_its_name(registry, function, aliases):
    """What a decorator of functions returns, with its arguments or without."""
    if function is None:
        return lambda function: _add(registry, function.__name__, function, aliases)
    return _add(registry, function.__name__, function, aliases)


def _called_from():
    """The "file:line" outside of this module that the call came from."""
    frame = sys._getframe(1)
    while frame.f_code.co_filename == __file__:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _first_line(value):
    text = getattr(value, "description", None) or inspect.getdoc(value) or ""
    return text.strip().split("\n")[0]


def _source(value):
    source = getattr(value, "source", None)
    if source:
        return source
    try:
        return f"{inspect.getsourcefile(value)}:{inspect.getsourcelines(value)[1]}"
    except (TypeError, OSError):
        return f"{getattr(value, '__module__', '?')}.{getattr(value, '__qualname__', '?')}"
