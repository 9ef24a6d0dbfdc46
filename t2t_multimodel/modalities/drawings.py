"""Drawings of samples for t2t-inspect: contact sheets of pictures, spectrograms, curves; and panels to draw in."""

import textwrap

import numpy as np

from t2t_multimodel.files import replacing

_WINDOW_SECONDS, _HOP_SECONDS = 0.025, 0.010  # of a spectrogram
_QUIETEST = 80.0  # dB under the loudest place of a spectrogram, drawn as black
_SHEET_COLUMNS = 5


def draw_contact_sheet(pictures, captions, path):
    """Draws pictures side by side, each with its caption; small ones are enlarged so that their pixels show."""
    columns = min(_SHEET_COLUMNS, len(pictures))
    rows = -(-len(pictures) // columns)
    figure, panels = panels_of(rows, columns, width=2.6 * columns, height=3.0 * rows)
    for panel, picture, caption in zip(panels, pictures, captions):
        picture = picture[..., 0] if picture.shape[-1] == 1 else picture
        panel.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        entitle(panel, caption, 32)
    for panel in panels:
        panel.set_axis_off()
    save_figure(figure, path)


def draw_spectrograms(sounds, rate, captions, path):
    """Draws each recording's waveform and, under it, its spectrogram in dB, with axes in seconds and Hz."""
    figure, panels = panels_of(2 * len(sounds), 1, width=9.0, height=3.4 * len(sounds), heights=[1, 3] * len(sounds))
    for i, (sound, caption) in enumerate(zip(sounds, captions)):
        wave, picture = panels[2 * i], panels[2 * i + 1]
        seconds = len(sound) / rate
        wave.plot(np.arange(len(sound)) / rate, sound / 32768, linewidth=0.4)
        wave.set(xlim=(0, seconds), ylim=(-1, 1), yticks=(-1, 0, 1), xticks=())
        entitle(wave, caption, 110)
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
    save_figure(figure, path)


def spectrogram(sound, rate):
    """The levels of a recording in dB of full scale, float [frames, frequencies from 0 to rate / 2].

    Hann windows of 25 ms, 10 ms apart; a recording shorter than a window is filled up with silence.
    """
    window = max(int(_WINDOW_SECONDS * rate), 16)
    hop = max(int(_HOP_SECONDS * rate), 1)
    sound = np.asarray(sound, np.float64) / 32768
    sound = np.pad(sound, (0, max(window - len(sound), 0)))
    frames = np.lib.stride_tricks.sliding_window_view(sound, window)[::hop]  # [frames, window]
    shape = np.hanning(window)
    spectrum = np.abs(np.fft.rfft(frames * shape, axis=1)) * 2 / shape.sum()  # a full-scale tone gives 1
    return 20 * np.log10(np.maximum(spectrum, 1e-7))


def panels_of(rows, columns, *, width, height, heights=None):
    """(figure, its panels in reading order)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    ratios = {"height_ratios": heights} if heights else {}
    return figure, figure.subplots(rows, columns, squeeze=False, **ratios).ravel()


def entitle(panel, text, width):
    """A title of at most three lines; a dollar sign in it is a dollar sign."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    lines = textwrap.wrap(printable, width)
    lines = lines if len(lines) <= 3 else [*lines[:2], lines[2][: width - 2] + " …"]
    panel.set_title("\n".join(lines), fontsize=8, parse_math=False)


def save_figure(figure, path):
    """A PNG, whole or not at all. A sign that the font lacks is drawn as a box; that is no reason for a warning."""
    import warnings

    with replacing(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(temporary, dpi=110, format="png")
