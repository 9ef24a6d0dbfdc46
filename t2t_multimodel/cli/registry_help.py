"""`--registry_help`: everything that is registered, by kind, with a line on each."""

import textwrap

from t2t_multimodel import registry


def registry_help(width=110):
    """The whole table as text, aligned and grouped; names of old stand behind what they resolve to."""
    names = [name for kind in registry.ALL for name in kind.names()]
    column = max([len(name) for name in names if len(name) <= 32], default=0) + 2
    groups = []
    for kind in registry.ALL:
        lines = []
        for entry in kind.entries():
            lines += _lines(entry, kind.aliases_of(entry.name), column, width)
        groups.append("\n".join([kind.title, *(lines or ["  (none)"])]))
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
