"""`--registry_help`: every problem, mixture, model and hparams set with a line on each."""

import textwrap

from t2t_multimodel import registry

_TITLES = {
    "Problems (--problem; <name>_rev swaps the sides of one from text to text)": registry.problems,
    "Mixtures (--problem; or written: --problem=a,b:2)": registry.mixtures,
    "Models (--model)": registry.models,
    "Hparams sets (--hparams_set)": registry.hparams_sets,
}


def registry_help(width=110):
    """The whole table as text, aligned and grouped; names of old stand behind what they resolve to."""
    names = [name for r in _TITLES.values() for name in r.names()]
    column = max([len(name) for name in names if len(name) <= 32], default=0) + 2
    groups = []
    for title, entries in _TITLES.items():
        lines = []
        for entry in entries.entries():
            lines += _lines(entry, entries.aliases_of(entry.name), column, width)
        groups.append("\n".join([title, *(lines or ["  (none)"])]))
    return "\n\n".join(groups)


def _lines(entry, aliases, column, width):
    said = entry.description or "(no description)"
    if aliases:
        said += f" [also: {', '.join(aliases)}]"
    meaning = textwrap.wrap(said, max(width - column - 2, 40))
    if len(entry.name) < column:
        first = f"  {entry.name:<{column}}{meaning.pop(0)}"
    else:
        first = f"  {entry.name}"  # too long for the column: the meaning starts on the next line
    return [first, *(" " * (column + 2) + line for line in meaning)]
