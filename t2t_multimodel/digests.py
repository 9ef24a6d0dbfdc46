"""Digests of files, and of JSON files over their own values: damage to them is noticed when they are read."""

import hashlib
import json

from t2t_multimodel.json_files import ANY, LIMIT, check, damaged, parse_json, read_bytes

DIGEST = "sha256_of_values"  # the name of a file's digest among its own values
_BLOCK = 1 << 20


def sealed(values):
    """The content (bytes) of a JSON file with `values`, a dict, and their digest; `unsealed` reads it."""
    values = {name: value for name, value in values.items() if name != DIGEST}
    text = json.dumps(values, ensure_ascii=False)
    values = json.loads(text.encode("utf-8", "replace"))  # a file's name may be no valid text
    return (json.dumps(values | {DIGEST: _digest_of(values)}, indent=2, ensure_ascii=False) + "\n").encode()


def unsealed(content, schema, path, advice=""):
    """The values of `content` (bytes) that `sealed` made, without their digest; `schema` as in `json_files`.

    Raises:
      DamagedFile: the values do not have the digest that is written beside them, or are not what `schema` says. One
        line, which calls the file `path` and ends in `advice`.
    """
    values = parse_json(content, {str: ANY}, path, advice)
    if values.pop(DIGEST, None) != _digest_of(values):
        raise damaged(path, "its values do not have the digest that is written in it", advice)
    try:
        check(values, schema)
    except ValueError as error:
        raise damaged(path, str(error), advice) from None
    return values


def read_sealed(path, schema, advice="", limit=LIMIT):
    """The values of a JSON file that `sealed` made; raises `DamagedFile`."""
    return unsealed(read_bytes(path, advice, limit), schema, path, advice)


def _digest_of(values):
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def sha256_of_file(file):
    """The sha256 of the rest of an open binary file, in hexadecimal."""
    digest = hashlib.sha256()
    while part := file.read(_BLOCK):
        digest.update(part)
    return digest.hexdigest()
