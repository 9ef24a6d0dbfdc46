"""Statistics and figures of `t2t-inspect`: contact sheets, spectrograms, WAV files, histograms of lengths."""

import dataclasses
import os
import textwrap

import numpy as np

_WINDOW_SECONDS, _HOP_SECONDS = 0.025, 0.010  # of a spectrogram
_QUIETEST = 80.0  # dB below the maximum of a spectrogram, drawn as black
_MOST_COUNTED = 20_000  # examples of a split, for class counts
_SHEET_COLUMNS = 5


# ---- Pictures and sound


def write_media(spec, values, captions, stem):
    """Writes the pictures or recordings of one side of some examples; nothing for text and classes.

    Args:
      spec: the side's `FeatureSpec`.
      values: uint8 [height, width, channels] or int16 [samples], one per example.
      captions: the text above each.
      stem: `Path` prefix of the file names.

    Returns:
      A list of lines about the written files.
    """
    if not values:
        return []
    if spec.modality == "image":
        path = stem.with_name(f"{stem.name}.png")
        draw_contact_sheet(values, captions, path)
        return [f"wrote {path}"]
    if spec.modality.startswith("audio"):
        import soundfile

        paths = [stem.with_name(f"{stem.name}-{number}.wav") for number in range(1, len(values) + 1)]
        for path, sound in zip(paths, values):
            soundfile.write(str(path), sound, spec.rate, subtype="PCM_16")
        path = stem.with_name(f"{stem.name}-spectrograms.png")
        draw_spectrograms(values, spec.rate, captions, path)
        return [f"wrote {paths[0]}" + (f" … {paths[-1].name}" if len(paths) > 1 else ""), f"wrote {path}"]
    return []


def draw_contact_sheet(pictures, captions, path):
    """Draws pictures side by side, each with its caption; small ones are enlarged with visible pixels."""
    columns = min(_SHEET_COLUMNS, len(pictures))
    rows = -(-len(pictures) // columns)
    figure, panels = _panels(rows, columns, width=2.6 * columns, height=3.0 * rows)
    for panel, picture, caption in zip(panels, pictures, captions):
        picture = picture[..., 0] if picture.shape[-1] == 1 else picture
        panel.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        _entitle(panel, caption, 32)
    for panel in panels:
        panel.set_axis_off()
    _save(figure, path)


def draw_spectrograms(sounds, rate, captions, path):
    """Draws each recording's waveform and, below it, its spectrogram in dB, with axes in seconds and Hz."""
    figure, panels = _panels(2 * len(sounds), 1, width=9.0, height=3.4 * len(sounds), heights=[1, 3] * len(sounds))
    for i, (sound, caption) in enumerate(zip(sounds, captions)):
        wave, picture = panels[2 * i], panels[2 * i + 1]
        seconds = len(sound) / rate
        wave.plot(np.arange(len(sound)) / rate, sound / 32768, linewidth=0.4)
        wave.set(xlim=(0, seconds), ylim=(-1, 1), yticks=(-1, 0, 1), xticks=())
        _entitle(wave, caption, 110)
        level = spectrogram(sound, rate)
        drawn = picture.imshow(
            level.T,
            origin="lower",
            aspect="auto",
            cmap="magma",
            extent=(0, seconds, 0, rate / 2),
            vmin=level.max() - _QUIETEST,
            vmax=level.max(),
        )
        picture.set(xlabel="seconds", ylabel="Hz")
        figure.colorbar(drawn, ax=picture, label="dB", pad=0.01)
    _save(figure, path)


def spectrogram(sound, rate):
    """The levels of a recording in dB of full scale, float [frames, frequencies from 0 to rate / 2].

    Hann windows of 25 ms, 10 ms apart; a recording shorter than a window is padded with silence.
    """
    window = max(int(_WINDOW_SECONDS * rate), 16)
    hop = max(int(_HOP_SECONDS * rate), 1)
    sound = np.asarray(sound, np.float64) / 32768
    sound = np.pad(sound, (0, max(window - len(sound), 0)))
    frames = np.lib.stride_tricks.sliding_window_view(sound, window)[::hop]  # [frames, window]
    shape = np.hanning(window)
    spectrum = np.abs(np.fft.rfft(frames * shape, axis=1)) * 2 / shape.sum()  # a full-scale tone gives 1
    return 20 * np.log10(np.maximum(spectrum, 1e-7))


# ---- Lengths


@dataclasses.dataclass(frozen=True)
class Lengths:
    """The lengths of one side of one split, in ids or seconds."""

    split: str
    side: str
    unit: str  # "ids" or "seconds"
    values: np.ndarray  # [examples]
    most: float  # longer examples are left out of training
    too_long: int

    def cells(self):
        """One row of the table of lengths."""
        v = self.values
        numbers = [v.min(), v.mean(), np.median(v), np.quantile(v, 0.99), v.max()]
        rounded = [round(float(n), 2) if self.unit == "seconds" else round(float(n), 1) for n in numbers]
        return (self.split, self.side, len(v), self.unit, *rounded, self.too_long)


def lengths_of(store, hparams):
    """The `Lengths` of the text sides (ids without end-of-sequence) and sound sides of every split."""
    found = []
    for name in store.manifest["splits"]:
        split = store.split(name)
        for side, rule in _rules(store, hparams).items():
            spec = getattr(store.spec, side)
            stored = split.input_length if side == "inputs" else split.target_length
            if not len(stored) or spec.modality in ("image", "label"):
                continue
            too_long = int(rule.too_long(stored).sum())
            if spec.modality == "text":
                most = hparams.max_input_length if side == "inputs" else hparams.max_target_length
                found.append(Lengths(name, side, "ids", np.asarray(stored, np.float64), most, too_long))
            else:
                seconds = np.asarray(stored, np.float64) / spec.rate
                found.append(Lengths(name, side, "seconds", seconds, hparams.max_audio_seconds, too_long))
    return found


def left_out(store, hparams, set_name):
    """Lines about the training data that the hparams leave out, and the values that would keep all of it."""
    if "train" not in store.manifest["splits"]:
        return ["warning: there is no split 'train'; nothing can be trained on this data"]
    split, rules = store.split("train"), _rules(store, hparams)
    too_long = np.zeros(len(split), bool)
    needed = []
    for side, rule in rules.items():
        lengths = split.input_length if side == "inputs" else split.target_length
        if rule.too_long(lengths).any():
            too_long |= rule.too_long(lengths)
            spec = getattr(store.spec, side)
            if spec.modality == "text":
                name = "max_input_length" if side == "inputs" else "max_target_length"
                needed.append(f"{name}={int(lengths.max())} (it is {getattr(hparams, name)})")
            else:
                seconds = np.ceil(10 * lengths.max() / spec.rate) / 10
                needed.append(f"max_audio_seconds={seconds:g} (it is {hparams.max_audio_seconds:g})")
    count = int(too_long.sum())
    if not count:
        return [f"{set_name} leaves out none of the {len(split):,} training examples"]
    return [
        f"warning: {set_name} leaves out {count:,} of the {len(split):,} training examples "
        f"({count / len(split):.1%}) as too long; all are kept with {', '.join(needed)}"
    ]


def classes_in_words(store):
    """Lines about how often each class is the training target; [] if the targets are not classes."""
    if store.spec.targets.modality != "label" or "train" not in store.manifest["splits"]:
        return []
    split = store.split("train")
    counted = min(len(split), _MOST_COUNTED)
    counts = np.zeros(len(store.classes), np.int64)
    for start in range(0, counted, 256):
        _, targets = split.columns(np.arange(start, min(start + 256, counted)))
        counts += np.bincount(targets, minlength=len(counts))
    order = np.argsort(-counts, kind="stable")
    often, seldom = (f"{store.classes[i]!r} {counts[i]:,}" for i in (order[0], order[-1]))
    of = "" if counted == len(split) else f" of the first {counted:,} examples"
    lines = [f"{len(counts):,} classes{of}; the most frequent is {often} times the target, the rarest {seldom}"]
    absent = [store.classes[i] for i in np.flatnonzero(counts == 0)]
    if absent:
        named = ", ".join(map(repr, absent[:8])) + (", …" if len(absent) > 8 else "")
        lines.append(f"warning: {len(absent):,} classes are never the target{of}: {named}")
    return lines


def draw_lengths(lengths, title, path):
    """Draws a histogram for each of `lengths`; a red line marks the maximum length for training, if near."""
    splits, sides = (list(dict.fromkeys(getattr(row, name) for row in lengths)) for name in ("split", "side"))
    figure, panels = _panels(len(splits), len(sides), width=4.5 * len(sides) + 0.5, height=2.2 * len(splits) + 0.6)
    for panel, row in zip(panels, lengths):
        whole = row.unit == "ids"
        low, high = float(row.values.min()), float(row.values.max())
        width = max(1.0, np.ceil((high - low) / 40)) if whole else max((high - low) / 40, 0.01)
        edges = np.arange(low - 0.5 * whole, high + width + 0.5, width)
        panel.hist(row.values, bins=edges if len(edges) > 1 else 1, color="#4477aa")
        if row.most <= 1.5 * high:
            panel.axvline(row.most, color="#cc3311")
        _entitle(panel, f"{row.split} {row.side}: {len(row.values):,} examples, {row.too_long:,} too long", 60)
        panel.yaxis.get_major_locator().set_params(integer=True)
        panel.set_xlabel(row.unit, fontsize=8)
        panel.tick_params(labelsize=7)
    figure.suptitle(title, fontsize=9, parse_math=False)
    _save(figure, path)


def _rules(store, hparams):
    from t2t_multimodel.input.lengths import InputLengths, TargetLengths

    return {"inputs": InputLengths(store.spec.inputs, hparams), "targets": TargetLengths(store.spec.targets, hparams)}


# ---- Drawing


def _panels(rows, columns, *, width, height, heights=None):
    """(figure, its panels in reading order)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    ratios = {"height_ratios": heights} if heights else {}
    return figure, figure.subplots(rows, columns, squeeze=False, **ratios).ravel()


def _entitle(panel, text, width):
    """Sets a title of at most three lines; a dollar sign is not a formula."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    lines = textwrap.wrap(printable, width)
    lines = lines if len(lines) <= 3 else [*lines[:2], lines[2][: width - 2] + " …"]
    panel.set_title("\n".join(lines), fontsize=8, parse_math=False)


def _save(figure, path):
    """Writes a PNG atomically. A character that the font lacks is drawn as a box, without a warning."""
    import warnings

    beside = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            figure.savefig(beside, dpi=110)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
