"""Splits original treebank files, with trees over several lines, into trees, each with its first line number."""

import re
from typing import NamedTuple

from t2t_multimodel.data_gen.readers.lines import read_lines
from t2t_multimodel.data_gen.readers.trees import BLANKS


class TreeText(NamedTuple):
    """One tree of a file, not parsed."""

    text: str
    path: str
    line: int  # from 1, the first line of the tree
    fault: str = ""  # why it is not one whole tree; "" if its brackets are balanced

    @property
    def place(self):
        return f"{self.path}:{self.line}"


def read_treebank_file(path):
    """Yields the `TreeText`s of a file, balanced or not.

    A tree starts with a bracket at the start of a line; its other lines are indented, as in the Penn Treebank's `.mrg`
    files. The reader uses the indentation to find the next tree after one with unbalanced brackets, so one broken tree
    is one bad record. A file without indentation can also be read if all its trees are balanced. Blank lines, and lines
    that start with `*x*` (a notice in older releases), are skipped.

    Raises:
      UserError: the file can't be opened, or is not UTF-8.
    """
    path = str(path)
    lines = [(number, line.rstrip(BLANKS)) for number, line in read_lines(path)]
    lines = [(number, line) for number, line in lines if line and not line.startswith("*x*")]
    at = 0
    while at < len(lines):
        end, fault = _tree_at(lines, at)
        yield TreeText("\n".join(line for _, line in lines[at:end]), path, lines[at][0], fault)
        at = end


def _tree_at(lines, first):
    """The tree that starts at `lines[first]`: (index of the line after it, what is wrong with it or "")."""
    if not lines[first][1].lstrip(BLANKS).startswith("("):
        start = lines[first][1].strip(BLANKS)[:40]
        return _next_beginning(lines, first), f"a tree starts with a bracket, not with {start!r}"
    depth = 0
    for at in range(first, len(lines)):
        number, line = lines[at]
        for bracket in re.finditer(r"[()]", line):
            depth += 1 if bracket[0] == "(" else -1
            if depth > 0:
                continue
            behind = line[bracket.end() :].strip(BLANKS)
            if not behind and at + 1 < len(lines) and not lines[at + 1][1].lstrip(BLANKS).startswith("("):
                number, behind = lines[at + 1][0], lines[at + 1][1].strip(BLANKS)
            if behind:
                fault = f"{behind[:40]!r} in line {number} is after the end of the tree: one closing bracket too many"
                return _next_beginning(lines, at), fault
            return at + 1, ""
    end = _next_beginning(lines, first)
    text = "".join(line for _, line in lines[first:end])
    return end, _count(text.count("(") - text.count(")"), "bracket is", "brackets are") + " never closed"


def _next_beginning(lines, at):
    """The index of the next line after `at` that starts with a bracket and is not indented."""
    return next((i for i in range(at + 1, len(lines)) if lines[i][1].startswith("(")), len(lines))


def _count(number, one, several):
    return f"{number} {one if number == 1 else several}"
