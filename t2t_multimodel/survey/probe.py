"""Looks at some pictures and recordings: sizes, colours, rates, seconds, and which can't be read."""

import collections
import dataclasses
import io
import itertools
import statistics

from t2t_multimodel.data_gen.readers import media
from t2t_multimodel.data_gen.readers.media import Clip, Content
from t2t_multimodel.data_gen.readers.members import TarMember, read_content
from t2t_multimodel.modalities import Audio, Image
from t2t_multimodel.problems import Table
from t2t_multimodel.regular_files import open_regular
from t2t_multimodel.survey import columns


@dataclasses.dataclass
class Probe:
    """What some files are."""

    sizes: list = dataclasses.field(default_factory=list)  # (width, height)
    grey: int = 0
    rates: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    seconds: list = dataclasses.field(default_factory=list)
    channels: int = 1  # the most
    unreadable: list = dataclasses.field(default_factory=list)

    def described(self):
        """A line on what was found; "" for nothing."""
        if self.sizes:
            widths, heights = zip(*self.sizes)
            size = f"{statistics.median_low(widths)} × {statistics.median_low(heights)} pixels"
            if len(set(self.sizes)) > 1:
                size = f"{min(widths)} × {min(heights)} to {max(widths)} × {max(heights)} pixels, median {size}"
            return f"{len(self.sizes):,} looked at: {size}, {_share(self.grey, len(self.sizes))} grey"
        if self.seconds:
            rates = ", ".join(f"{rate:,} Hz" for rate, _ in self.rates.most_common(3))
            return (
                f"{len(self.seconds):,} looked at: {min(self.seconds):.1f} to {max(self.seconds):.1f} s, median "
                f"{statistics.median(self.seconds):.1f} s; {rates}; {self.channels} "
                f"{'channel' if self.channels == 1 else 'channels'}"
            )
        return ""


def probe_samples(layout, choice, most):
    """A `Probe` of the pictures or recordings in the first samples of train; None if the inputs are neither.

    Args:
      layout: a `Layout`.
      choice: a `Choice`.
      most: how many are looked at.
    """
    if choice.inputs_kind not in columns.MEDIA:
        return None
    modality = Image() if choice.inputs_kind == columns.PICTURE else Audio()
    part = {role: name for role, name in choice.more.items() if role in ("start", "duration")}
    attributes = {
        "name": "looked_at",
        "directory": str(layout.directory),
        "files": layout.files,
        "columns": {"inputs": choice.inputs, "targets": choice.inputs} | part,  # only the inputs are looked at
        "media_folder": layout.media_folder,
        "inputs": modality,
        "targets": modality,
        "header": layout.form.header,
        "delimiter": layout.form.delimiter,
    }
    table = type("LookedAt", (Table,), attributes)()
    places, outside = [], []
    for sample in itertools.islice(table.read_samples("train"), most):
        if "bad" in sample:
            outside.append(sample["bad"])
            continue
        try:
            if path := media.path_of(sample["inputs"]):
                table.check_inside(path)
            places.append(sample["inputs"])
        except ValueError as error:
            outside.append(str(error))
    found = probe_pictures(places) if choice.inputs_kind == columns.PICTURE else probe_recordings(places)
    found.unreadable += outside
    return found


def probe_pictures(places):
    """A `Probe` of the headers of pictures."""
    from PIL import Image

    found = Probe()
    for place in places:
        try:
            with _opened(place) as file, Image.open(file) as picture:
                found.sizes.append(picture.size)
                found.grey += picture.mode in ("1", "L", "LA", "I", "I;16")
        except Exception as error:  # on damaged files Pillow raises nearly anything
            found.unreadable.append(f"{place}: {_reason(error)}")
    return found


def probe_recordings(places):
    """A `Probe` of the headers of recordings."""
    import soundfile

    found = Probe()
    for place in places:
        try:
            with _opened(place.file if isinstance(place, Clip) else place) as file:
                about = soundfile.info(file)
            seconds = about.frames / about.samplerate
            if isinstance(place, Clip):
                seconds = (seconds if place.end is None else place.end) - place.start
            found.rates[about.samplerate] += 1
            found.seconds.append(seconds)
            found.channels = max(found.channels, about.channels)
        except Exception as error:
            found.unreadable.append(f"{place}: {_reason(error)}")
    return found


def _opened(place):
    if isinstance(place, Content):
        return io.BytesIO(place.content)
    if isinstance(place, TarMember):
        return io.BytesIO(read_content(place))
    return open_regular(place)


def _reason(error):
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if type(error).__name__ == "UnidentifiedImageError":
        return "no picture"
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).split("\n")[0]


def _share(part, whole):
    return "all" if part == whole else f"{part:,}" if part else "none"
