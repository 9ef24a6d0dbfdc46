"""The figures of reports: curves in small panels, heat maps, shares over time; each is a matplotlib Figure.

Lines and text are drawn in `INK`, which `svg` replaces by the text colour of the page (light or dark). A dollar sign in
text does not start a formula.
"""

import dataclasses
import io
import itertools
import textwrap

import numpy as np

INK = "#010203"  # placeholder for the page's text colour
FAINT = "#808a96"  # grid and frames: readable on light and dark pages
# Okabe and Ito's colours, which most colour-blind readers can distinguish; pale ones are darkened.
COLOURS = ("#2f7fc1", "#d1600a", "#0a9a70", "#c46a9b", "#8f6fd6", "#b58900", "#3aa6b9", "#7f8c4f", "#a0522d", "#808a96")


@dataclasses.dataclass(frozen=True)
class Line:
    """A curve: values over x, with an optional band from `low` to `high`."""

    label: str
    x: list
    y: list
    low: list | None = None
    high: list | None = None
    colour: str = ""  # "": the next of `COLOURS`
    right: bool = False  # drawn on a second scale at the right
    faint: bool = False  # thin and pale: raw values under their smoothed curve
    marks: bool = False  # a dot at each value


@dataclasses.dataclass(frozen=True)
class Panel:
    """One small diagram: title, curves, and axis labels."""

    title: str
    lines: list
    x_label: str = "step"
    y_label: str = ""
    right_label: str = ""
    y_range: tuple | None = None  # (low, high); None: the range of the values
    right_range: tuple | None = None
    remark: str = ""  # right of the title


def curves(panels, columns=3, legend=True):
    """Small diagrams side by side, at most `columns` per row, with one legend: a label has one colour everywhere."""
    columns = max(1, min(columns, len(panels)))
    rows = -(-len(panels) // columns)
    figure, axes = _figure(rows, columns, 3.6 * columns, 2.7 * rows)
    labels = dict.fromkeys(line.label for panel in panels for line in panel.lines if not line.colour)
    colours = dict(zip(labels, itertools.cycle(COLOURS)))
    drawn = {}
    for place, (axis, panel) in enumerate(zip(axes, panels)):
        drawn |= _draw_panel(axis, panel, colours)
        if place + columns >= len(panels):
            axis.set_xlabel(panel.x_label, fontsize=8, color=INK)
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    if legend and len(drawn) > 1:
        _legend(figure, drawn, columns=min(4, 2 * columns))
    return figure


def heat_map(values, row_names, column_names, label="", digits=2, centre=None, limits=None, x_label="", y_label=""):
    """A matrix as coloured cells with their values.

    Args:
      values: [rows, columns]; NaN is left blank.
      label: the label of the colour scale.
      centre: the neutral value of a diverging colour map (0 for differences); None: a sequential colour map.
      limits: (low, high) of the colours; None: of the values.
    """
    values = np.asarray(values, np.float64)
    rows, columns = values.shape
    written = columns <= 24
    wide = 0.62 if written else max(0.12, min(0.62, 12.0 / columns))
    longest = max((len(_short(name)) for name in row_names), default=0)
    figure, (axis,) = _figure(1, 1, max(3.2, wide * columns + 0.085 * longest + 1.6), max(1.8, 0.42 * rows + 1.4))
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    low, high = limits or (low, high)
    scale = {"vmin": low, "vmax": high if high > low else low + 1.0, "cmap": "viridis"}
    if centre is not None:
        reach = max(abs(low - centre), abs(high - centre)) or 1.0
        scale = {"vmin": centre - reach, "vmax": centre + reach, "cmap": "RdBu"}
    drawn = axis.imshow(values, aspect="auto", interpolation="nearest", **scale)
    _name_ticks(axis.xaxis, column_names, rotate=any(len(name) > 5 for name in column_names))
    _name_ticks(axis.yaxis, row_names)
    axis.set_xlabel(x_label, fontsize=8, color=INK)
    axis.set_ylabel(y_label, fontsize=8, color=INK)
    if written:
        for row, column in np.ndindex(rows, columns):
            if np.isfinite(values[row, column]):
                colour = "black" if _light(drawn.to_rgba(values[row, column])) else "white"
                axis.text(
                    column, row, f"{values[row, column]:.{digits}f}", ha="center", va="center", fontsize=7, color=colour
                )
    _colour_bar(figure, axis, drawn, label)
    return figure


def shares(series, x_label="step"):
    """Shares over time as stacked bands, planned left and actual right: {name: (x, planned, actual)}."""
    figure, axes = _figure(1, 2, 9.0, 3.4)
    colours = list(itertools.islice(itertools.cycle(COLOURS), len(series)))
    x = next(iter(series.values()))[0]
    for axis, title, which in zip(axes, ("planned", "actual"), (1, 2)):
        bands = axis.stackplot(x, [one[which] for one in series.values()], colors=colours, linewidth=0)
        axis.set(xlim=(min(x), max(max(x), min(x) + 1)), ylim=(0, 1))
        axis.set_xlabel(x_label, fontsize=8, color=INK)
        _title(axis, title)
    _legend(figure, dict(zip(series, bands)))
    return figure


def frontiers(costs, values, colours, marks, y_label=""):
    """What points are worth over each thing that they cost, side by side, with a line through those that none beats.

    Args:
      costs: {axis label: (what each point costs, the indices of those that none beats, cheapest first)}.
      values: of each point. colours, marks: of each point the label by which it is coloured, and shaped.
    """
    figure, axes = _figure(1, len(costs), 3.7 * len(costs), 3.5)
    colour_of = dict(zip(dict.fromkeys(colours), itertools.cycle(COLOURS)))
    mark_of = dict(zip(dict.fromkeys(marks), itertools.cycle("osD^vPX*")))
    handles = {}
    for axis, (label, (cost, best)) in zip(axes, costs.items()):
        axis.grid(True, color=FAINT, alpha=0.25, linewidth=0.6)
        axis.spines[["top", "right"]].set_visible(False)
        axis.set_xlabel(label, fontsize=8, color=INK)
        line = axis.step([cost[i] for i in best], [values[i] for i in best], where="post", color=INK, linewidth=1.0)
        for x, y, colour, mark in zip(cost, values, colours, marks):
            look = {
                "color": colour_of[colour],
                "marker": mark_of[mark],
                "linestyle": "",
                "markersize": 4.5,
                "alpha": 0.8,
            }
            axis.plot([x], [y], **look)
        handles |= {"none is better for as little": line[0]}
    axes[0].set_ylabel(y_label, fontsize=8, color=INK)
    unseen = {"xdata": [], "ydata": [], "linestyle": "", "markersize": 5}
    handles |= {label: _artist(color=colour, marker="o", **unseen) for label, colour in colour_of.items()}
    handles |= {
        label: _artist(color=FAINT, marker=mark, **unseen) for label, mark in mark_of.items() if len(mark_of) > 1
    }
    _legend(figure, handles, columns=8)
    return figure


def _artist(**look):
    from matplotlib.lines import Line2D

    return Line2D(**look)


def verdicts(rows, x_label=""):
    """Differences with their intervals, a row for each claim, coloured by its verdict.

    Args:
      rows: (claim, verdict, mood of a note, [(difference, half its interval or None)]) of each; several differences of
        one claim stand under each other.
    """
    figure, (axis,) = _figure(1, 1, 10.5, 0.7 + 0.3 * len(rows))
    colour_of = {"good": COLOURS[2], "bad": COLOURS[1], "unsure": FAINT}
    for row, (_, _, mood, differences) in enumerate(rows):
        for i, (mean, half) in enumerate(differences):
            y = row + 0.55 * ((i + 0.5) / len(differences) - 0.5)
            look = {"color": colour_of.get(mood, FAINT), "markersize": 4 if len(differences) == 1 else 2.5}
            axis.errorbar([mean], [y], xerr=None if half is None else [half], fmt="o", elinewidth=1.2, **look)
    axis.axvline(0, color=FAINT, linewidth=0.8)
    axis.grid(True, axis="x", color=FAINT, alpha=0.25, linewidth=0.6)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.set_ylim(len(rows) - 0.5, -0.5)
    _name_ticks(axis.yaxis, [_short(claim, 84) for claim, *_ in rows], most=84)
    right = axis.secondary_yaxis("right")
    right.spines["right"].set_visible(False)
    _name_ticks(right.yaxis, [verdict for _, verdict, *_ in rows])
    for side in (axis.yaxis, right.yaxis):
        side.set_tick_params(length=0)
    axis.set_xlabel(x_label, fontsize=8, color=INK)
    return figure


def attention(weights, column_names, row_names, title="", seconds=None):
    """Attention of output pieces (rows) over input positions (columns), [rows, columns]; each row sums to 1.

    Args:
      column_names: names of the positions; [] without names.
      seconds: length of the recording that the positions cover, for an axis in seconds.
    """
    rows, columns = np.shape(weights)
    figure, (axis,) = _figure(1, 1, max(3.6, min(11.0, 0.24 * columns + 2.0)), max(1.6, 0.21 * rows + 1.1))
    extent = None if seconds is None else (0, seconds, rows - 0.5, -0.5)
    drawn = axis.imshow(weights, aspect="auto", interpolation="nearest", cmap="viridis", vmin=0, extent=extent)
    if seconds is not None:
        axis.set_xlabel("seconds", fontsize=8, color=INK)
    elif column_names:
        _name_ticks(axis.xaxis, column_names, rotate=True)
    _name_ticks(axis.yaxis, row_names)
    _title(axis, title)
    _colour_bar(figure, axis, drawn)
    return figure


def attention_over_picture(picture, weights, names, columns=6):
    """One picture per output piece, bright where the piece attends.

    Args:
      picture: uint8 [height, width, channels]. weights: [pieces, rows, columns] over the encoded positions, which cover
        the whole picture. names: of the pieces.
    """
    height, width, channels = picture.shape
    columns = min(columns, len(names))
    rows = -(-len(names) // columns)
    figure, axes = _figure(rows, columns, 1.5 * columns, (1.5 * height / width + 0.25) * rows)
    grey = picture.mean(axis=-1) / 255.0
    for axis, piece, name in zip(axes, weights, names):
        seen = piece / max(float(piece.max()), 1e-9)  # scaled to a maximum of 1 for each piece
        axis.imshow(grey, cmap="gray", vmin=0, vmax=1, extent=(0, width, height, 0), interpolation="nearest")
        axis.imshow(
            seen,
            cmap="inferno",
            vmin=0,
            vmax=1,
            alpha=0.35 + 0.4 * seen,
            extent=(0, width, height, 0),
            interpolation="bilinear",
        )
        _title(axis, name)
    for axis in axes:
        axis.set_axis_off()
    return figure


def smoothed(values, weight=0.8):
    """The exponential moving average with decay `weight`, with bias correction."""
    from t2t_multimodel.training.reporting import smoothed as of_values

    return of_values(values, weight)


def svg(figure):
    """The figure as SVG text without a date: the same figure gives the same bytes."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "t2t-multimodel", "svg.fonttype": "path"}):
        _without_glyph_warnings(
            lambda: figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        )
    drawn = buffer.getvalue().replace(INK, "currentColor")
    head, start, rest = drawn.partition("<svg ")
    inside, end, rest = rest.partition(">")
    style = "<style>svg{color:#1c2430}@media(prefers-color-scheme:dark){svg{color:#e6eaf0}}</style>"
    return f"{start}{inside}{end}\n{style}{rest}"


# ---- Drawing


def _figure(rows, columns, width, height):
    """(figure, its axes in reading order), in the colours of the page."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.set_facecolor("none")
        _ink(axis)
    return figure, axes


def _legend(figure, handles, columns=4):
    """A legend below all diagrams; `handles` is {label: artist}."""
    labels = [_short(label) for label in handles]
    legend = figure.legend(
        handles.values(),
        labels,
        loc="outside lower center",
        fontsize=7.5,
        frameon=False,
        labelcolor=INK,
        ncols=min(columns, len(handles)),
        handlelength=1.6,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def _colour_bar(figure, axis, drawn, label=""):
    """Adds a colour bar of the same thickness in every figure."""
    thickness, height = 0.13, figure.get_figheight()  # inches
    bar = figure.colorbar(drawn, ax=axis, pad=0.02, fraction=0.04, aspect=height / thickness)
    bar.set_label(_short(label, 40), fontsize=8, color=INK, parse_math=False)
    _ink(bar.ax)


def _ink(axis):
    axis.tick_params(labelsize=7, color=FAINT, labelcolor=INK)
    for spine in axis.spines.values():
        spine.set_color(FAINT)


def _draw_panel(axis, panel, colours):
    """Draws a panel; returns {label: artist} for the legend."""
    _title(axis, panel.title)
    axis.set_title(_short(panel.remark), fontsize=8, loc="right", color=INK, parse_math=False)
    axis.grid(True, color=FAINT, alpha=0.25, linewidth=0.6)
    axis.spines["top"].set_visible(False)
    axis.spines["right"].set_visible(False)
    axis.set_ylabel(panel.y_label, fontsize=8, color=INK)
    right = axis.twinx() if any(line.right for line in panel.lines) else None
    handles = {}
    for line in panel.lines:
        colour = line.colour or colours[line.label]
        width, alpha = (0.8, 0.4) if line.faint else (1.6, 1.0)
        onto = right if line.right else axis
        (handle,) = onto.plot(
            line.x,
            line.y,
            color=colour,
            linewidth=width,
            alpha=alpha,
            markersize=3,
            marker="o" if line.marks or len(line.x) == 1 else None,
        )
        handles.setdefault(line.label, handle)
        if line.low is not None:
            onto.fill_between(line.x, line.low, line.high, color=colour, alpha=0.18, linewidth=0)
    if panel.y_range:
        axis.set_ylim(*panel.y_range)
    if right is not None:
        _ink(right)
        right.set_ylabel(panel.right_label, fontsize=8, color=INK)
        right.spines["top"].set_visible(False)
        if panel.right_range:
            right.set_ylim(*panel.right_range)
    return handles


def _title(axis, text):
    lines = textwrap.wrap("".join(c if c.isprintable() else " " for c in text), 46)
    shown = "\n".join(lines if len(lines) <= 2 else [lines[0], lines[1][:42] + " …"])
    axis.set_title(shown, fontsize=9, fontweight="bold", loc="left", color=INK, parse_math=False)


def _name_ticks(axis, names, rotate=False, most=28):
    labels = [_short("".join(c if c.isprintable() else "·" for c in str(name)), most) for name in names]
    axis.set_ticks(range(len(labels)), labels, rotation=90 if rotate else 0, fontsize=7)
    for text in axis.get_ticklabels():
        text.set_parse_math(False)


def _short(text, most=28):
    return text if len(text) <= most else text[: most - 1] + "…"


def _light(colour):
    red, green, blue, _ = colour
    return 0.299 * red + 0.587 * green + 0.114 * blue > 0.55


def _without_glyph_warnings(draw):
    """Draws a character that the font lacks as a box, without a warning."""
    import warnings

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        draw()
