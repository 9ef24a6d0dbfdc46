"""Treebank files as they ship, a tree over several lines: cut into trees, each with the line where it begins."""

import re
from typing import NamedTuple

from t2t_multimodel.data_gen.readers.lines import read_lines


class TreeText(NamedTuple):
    """One tree of a file, not parsed yet."""

    text: str
    path: str
    line: int  # from 1, where the tree begins
    fault: str = ""  # why it is not one whole tree; "" where its brackets are balanced

    @property
    def place(self):
        return f"{self.path}:{self.line}"


def read_treebank_file(path):
    """Yields the `TreeText`s of a file, balanced or not.

    A tree begins with a bracket at the start of a line; its further lines are indented, as the Penn Treebank's `.mrg`
    files and their like have them. That is what the reader catches hold of again behind a tree whose brackets do not
    balance, so one broken tree is one bad record. A file in which no line is indented reads as well, as long as all
    of its trees are balanced. Blank lines, and lines from `*x*` to `*x*` (the older releases' notice), are skipped.

    Raises:
      UserError: the file can't be opened, or is not UTF-8.
    """
    path = str(path)
    lines = [(number, line.rstrip()) for number, line in read_lines(path)]
    lines = [(number, line) for number, line in lines if line and not line.startswith("*x*")]
    at = 0
    while at < len(lines):
        end, fault = _tree_at(lines, at)
        yield TreeText("\n".join(line for _, line in lines[at:end]), path, lines[at][0], fault)
        at = end


def _tree_at(lines, first):
    """The tree that begins with `lines[first]`: (index of the line behind it, what is wrong with it or "")."""
    if not lines[first][1].lstrip().startswith("("):
        return _next_beginning(lines, first), f"a tree begins with a bracket, not with {lines[first][1].strip()[:40]!r}"
    depth = 0
    for at in range(first, len(lines)):
        number, line = lines[at]
        for bracket in re.finditer(r"[()]", line):
            depth += 1 if bracket[0] == "(" else -1
            if depth > 0:
                continue
            behind = line[bracket.end() :].strip()
            if not behind and at + 1 < len(lines) and not lines[at + 1][1].lstrip().startswith("("):
                number, behind = lines[at + 1][0], lines[at + 1][1].strip()
            if behind:
                fault = f"{behind[:40]!r} in line {number} is behind the end of the tree: a closing bracket too many"
                return _next_beginning(lines, at), fault
            return at + 1, ""
    end = _next_beginning(lines, first)
    text = "".join(line for _, line in lines[first:end])
    return end, _count(text.count("(") - text.count(")"), "bracket is", "brackets are") + " never closed"


def _next_beginning(lines, at):
    """The index of the next line behind `at` that begins with a bracket and is not indented."""
    return next((i for i in range(at + 1, len(lines)) if lines[i][1].startswith("(")), len(lines))


def _count(number, one, several):
    return f"{number} {one if number == 1 else several}"
