"""Finds samples of train that are in dev or test too, by content: equal texts, pictures or recordings."""

import hashlib

from t2t_multimodel.data_gen.readers import media


class HeldOutSamples:
    """The samples of dev and test. A sample with a picture or a recording is known by it, another by all its text."""

    def __init__(self, problem):
        self._problem = problem
        self._texts = set()
        self._by_size = {}  # size of the media of a sample → [the media]; once looked up, {their digests}

    def add(self, sample):
        """Adds a raw sample of dev or test."""
        files, texts = self._parts(sample)
        if files:
            self._by_size.setdefault(tuple(map(media.size_of, files)), []).append(list(map(_without_bytes, files)))
        else:
            self._texts.add(texts)

    def holds(self, sample):
        """Whether a raw sample of train is one of them."""
        files, texts = self._parts(sample)
        if not files:
            return texts in self._texts
        size = tuple(map(media.size_of, files))
        known = self._by_size.get(size)
        if known is None or None in size:
            return False
        if isinstance(known, list):
            known = self._by_size[size] = {tuple(map(_ends_of, each)) for each in known}
        ends = tuple(map(media.ends_of, files))
        return None not in ends and ends in known

    def _parts(self, sample):
        """(the media of a sample, a digest of its other sides)."""
        files, rest = [], []
        for side in ("inputs", "targets"):
            for modality, value in getattr(self._problem, side).parts(sample.get(side)):
                if modality.reads_files:
                    files.append(value)
                elif not files:
                    rest.append(" ".join(value.split()) if isinstance(value, str) else repr(value))
        return files, "" if files else hashlib.blake2b(
            "\0".join(rest).encode("utf-8", "replace"), digest_size=8
        ).digest()


def _without_bytes(place):
    """A picture's or a recording's place, or, where its bytes are in memory, the digest of their ends."""
    content = place.file if isinstance(place, media.Clip) else place
    return media.ends_of(place) if isinstance(content, media.Content) else place


def _ends_of(place):
    return place if place is None or isinstance(place, bytes) else media.ends_of(place)
