"""Bracketed trees, "(S (NP (DT the) (NN dog)) (VP (VBZ barks)))": reads, simplifies and linearises them."""

from t2t_multimodel.data_gen.readers.lines import MAX_LINE_LENGTH, read_lines, refuse

TRACE = "-NONE-"  # the Penn Treebank's label of leaves without a word
BLANKS = " \t\r\n"  # what separates leaves and labels; other white space, such as a no-break space, is part of a word
_WORD = rf"[^{BLANKS}()]+"


def read_trees(path, keep_function_tags=False, malformed=refuse, max_line_length=MAX_LINE_LENGTH):
    """Yields `(line number, nltk.tree.Tree)`, one tree per line; blank lines are skipped.

    A tree may go on over lines that begin with a blank, as in the Penn Treebank's .mrg files, until its brackets are
    closed; its number is that of its first line.

    Args:
      malformed: called with "file:line: the reason"; its result is yielded instead of the tree.
      max_line_length: a line with more characters is malformed.

    Raises:
      UserError: a line that is not one whole tree; the message names file and line.
    """
    for number, line in _joined(path, malformed, max_line_length):
        try:
            tree = parse_tree(line, keep_function_tags) if isinstance(line, str) else line
        except ValueError as error:
            tree = malformed(f"{path}:{number}: {error} (expected: one whole bracketed tree per line)")
        yield number, tree


def _joined(path, malformed, max_line_length):
    """Yields `(line number, the line with the indented ones behind it)` of each tree; what is malformed stays alone."""
    first, tree, open_brackets = 0, "", 0
    for number, line in read_lines(path, malformed, max_line_length):
        text = isinstance(line, str)
        if text and not line.strip(BLANKS):
            continue
        if text and open_brackets > 0 and line[0] in BLANKS and len(tree) + len(line) <= max_line_length:
            tree += " " + line.strip(BLANKS)
            open_brackets += line.count("(") - line.count(")")
            continue
        if first:
            yield first, tree
        first, tree = number, line
        open_brackets = line.count("(") - line.count(")") if text else 0
    if first:
        yield first, tree


def parse_tree(text, keep_function_tags=False, root_label=None):
    """The `nltk.tree.Tree` of one bracketed tree; a root without a label is unwrapped, traces are removed.

    Args:
      text: the tree.
      keep_function_tags: whether to keep "NP-SBJ" instead of "NP".
      root_label: the label for an unlabelled root of several trees, "( (S …) (. .))"; None: this is an error.

    Raises:
      ValueError: with the reason, in one line.
    """
    from nltk.tree import Tree

    try:
        tree = Tree.fromstring(text, node_pattern=_WORD, leaf_pattern=_WORD, remove_empty_top_bracketing=True)
    except ValueError as error:  # its message has several lines
        reason = " ".join(line.strip() for line in str(error).split("\n")[:2])
        raise ValueError(f"the tree doesn't parse: {reason}") from None
    except IndexError:  # raised by nltk for "(" and for text without brackets
        raise ValueError("the tree doesn't parse: its brackets are not closed") from None
    if root_label and not tree.label() and len(tree) > 1:
        tree.set_label(root_label)
    try:
        tree = _simplified(tree, keep_function_tags)
    except RecursionError:
        raise ValueError("the tree is nested some hundred brackets deep") from None
    if tree is None:
        raise ValueError("the tree has no words")
    return tree


def symbols(with_words, with_function_tags=False):
    """The pattern of the words of a linearised tree that are one id each (`features.Text.symbols`)."""
    if with_function_tags:  # they contain numbers, so the set of labels is open
        return ""
    return r"[()]\S+" if with_words else r"\S+"  # brackets; or everything, since the leaves are tags


def linearised(tree, with_words=True):
    """The tree on one line: "(NP (DT the )DT (NN dog )NN )NP", or without words, with tags as leaves: "(NP DT NN )NP".

    Closing brackets have labels (as in Vinyals et al. 2015, arXiv 1412.7449), so a decoder does not have to count them.

    Raises:
      ValueError: `with_words` is false and a word has no tag, as in "(NP the dog)".
    """
    if isinstance(tree, str):
        if not with_words:
            raise ValueError(f"the word {tree!r} has no tag of its own, and the tree is wanted without words")
        return tree
    if not with_words and len(tree) == 1 and isinstance(tree[0], str):
        return tree.label()
    return f"({tree.label()} {' '.join(linearised(child, with_words) for child in tree)} ){tree.label()}"


def _simplified(tree, keep_function_tags):
    """A copy of `tree` without traces, and without function tags unless kept; None if no word is left."""
    if isinstance(tree, str):
        return tree
    if tree.label() == TRACE:
        return None
    if not len(tree):
        raise ValueError(f"the tree doesn't parse: there is nothing in the bracket ({tree.label()})")
    if not tree.label():
        raise ValueError("the tree doesn't parse: there is a bracket without a label")
    children = [child for child in (_simplified(child, keep_function_tags) for child in tree) if child is not None]
    if not children:
        return None
    return type(tree)(tree.label() if keep_function_tags else without_function_tag(tree.label()), children)


def without_function_tag(label):
    """ "NP-SBJ-1" → "NP", "NP=2" → "NP"; "-LRB-" and "=" stay."""
    for i, character in enumerate(label):
        if i and character in "-=":
            return label[:i] if label[0] not in "-=" else label
    return label
