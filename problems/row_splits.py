"""Remembers which split each row of a table belongs to, so that later passes leave the rows of others unread."""

import os

from t2t_multimodel.data_gen.readers.members import version_of

_CODES = {"train": 0, "dev": 1, "test": 2}


class RowSplits:
    """One byte for each row of the tables that were read to their ends; copies, such as workers get, know none."""

    def __init__(self):
        self._known = {}  # {table: (its size and time, the code of each row)}

    def __reduce__(self):
        return RowSplits, ()

    def wanted(self, table, split):
        """A byte for each row of `table`, 1 for those that a pass over `split` reads; None if that is not known."""
        state, codes = self._known.get(os.fspath(table), (None, b""))
        if state is None or state != state_of(table):
            return None
        return codes.translate(bytes(code == _CODES[split] for code in range(256)))

    def learn(self, table, state, codes):
        """Keeps the `codes` of all rows of `table`, which was in `state` before they were read."""
        if state is not None and state == state_of(table):
            self._known[os.fspath(table)] = state, bytes(codes)


def code_of(split):
    return _CODES[split]


def state_of(table):
    """The `version_of` a file; None for a folder, whose files may change without it."""
    return None if os.path.isdir(table) else version_of(table)
