"""Looks at a user's files, for `t2t-new-problem`: what they are, what their columns hold, what looks wrong.

layout.py    paths → which tables they are, and their splits
corpora.py   paths → which corpus they are, where that is no table
columns.py   tables → what each column holds
probe.py     some pictures and recordings → sizes, rates, lengths, which can't be read
choice.py    columns → the inputs and targets; what is ambiguous is an error that names the flag
source.py    all of that → the Python file of the problem
"""
