"""Installed packages that register problems and more: the entry point group `t2t_multimodel.problems`.

In the package's pyproject.toml, a module to import; whatever that registers is there:

    [project.entry-points."t2t_multimodel.problems"]
    city_birds = "city_birds.problems"

The packages are imported at the first look-up of any name, after what ships. One that fails is left out as a whole,
with one line that names it, and the others go on: a command that does not use it should not die of it. Where a name
is then not found, the error says which packages failed.
"""

import dataclasses
import importlib.metadata

GROUP = "t2t_multimodel.problems"


@dataclasses.dataclass(frozen=True)
class InstalledPackage:
    """What became of one distribution's entry points; `str` is the line for the user."""

    distribution: str  # "city-birds 1.0"
    modules: tuple
    added: tuple = ()  # "problem city_birds", …
    failure: str = ""  # why nothing of it was added

    def __str__(self):
        if self.failure:
            return f"warning: package {self.distribution} is left out: {self.failure}"
        said = f"package {self.distribution}: imported {', '.join(self.modules)}; "
        if self.added:
            return said + "added " + ", ".join(self.added)
        return f"warning: {said}it registers nothing (decorate with @register_problem of t2t_multimodel.registry)"


def load(registries):
    """Imports the entry points of every installed distribution, in the order of their names.

    Args:
      registries: the `Registry`s that they may add to; what a failed one had added is taken out again.

    Returns:
      A list of `InstalledPackage`, one for each distribution that has such entry points.
    """
    by_distribution = {}
    for point in importlib.metadata.entry_points(group=GROUP):
        by_distribution.setdefault(_called(point.dist), []).append(point)
    return [_load_one(name, by_distribution[name], registries) for name in sorted(by_distribution)]


def _load_one(distribution, points, registries):
    before = [registry.snapshot() for registry in registries]
    modules = []
    for point in sorted(set(points), key=lambda point: (point.value, point.name)):
        try:
            point.load()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit too: a script without a main guard
            for registry, state in zip(registries, before):
                registry.restore(state)
            said = " ".join(str(error).split()) or "no reason given"
            return InstalledPackage(
                distribution,
                (),
                failure=f"importing {point.value} (its entry point {point.name}) failed with "
                f"{type(error).__name__}: {said}",
            )
        modules.append(point.value)
    added = [f"{r.kind} {name}" for r, state in zip(registries, before) for name in r.added_since(state)]
    return InstalledPackage(distribution, tuple(dict.fromkeys(modules)), tuple(added))


def _called(distribution):
    return f"{distribution.name} {distribution.version}" if distribution else "of unknown name"
