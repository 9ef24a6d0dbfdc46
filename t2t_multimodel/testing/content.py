"""What a sample holds, to tell whether two samples are the same."""

import hashlib

import numpy as np

from t2t_multimodel.vocabulary import varints


def digest_of(value):
    """A digest of a sample's content, equal for equal content whatever the object."""
    digest = hashlib.sha256()
    _add(digest, value)
    return digest.digest()


def same_arrays(encoded, stored):
    """Whether a sample came back from the store as it was encoded."""
    stored = stored if isinstance(stored, dict) else {"values": stored}
    return stored.keys() == encoded.keys() and all(_same(encoded[name], stored[name]) for name in encoded)


def _same(encoded, stored):
    if isinstance(encoded, bytes):  # ids are stored packed: encode what came back
        return encoded == varints(stored)
    return np.array_equal(encoded, stored, equal_nan=np.asarray(stored).dtype.kind == "f")


def _add(digest, value):
    if isinstance(value, np.ndarray):
        digest.update(f"array {value.dtype} {value.shape}".encode() + np.ascontiguousarray(value).tobytes())
    elif isinstance(value, dict):
        digest.update(f"dict {len(value)}".encode())
        for name in sorted(value, key=str):
            _add(digest, name)
            _add(digest, value[name])
    elif isinstance(value, (list, tuple)):
        digest.update(f"list {len(value)}".encode())
        for each in value:
            _add(digest, each)
    elif isinstance(value, bytes):
        digest.update(b"bytes %d " % len(value) + value)
    elif isinstance(value, str):
        raw = value.encode("utf-8", "surrogatepass")
        digest.update(b"text %d " % len(raw) + raw)
    else:
        digest.update(f"{type(value).__name__} {value!r}".encode("utf-8", "surrogatepass"))
