"""What a run says of itself: a progress bar, learning curves, tables. `metrics_log.py` keeps what was measured."""

import collections
import math
import os
import sys
import time
from pathlib import Path

from t2t_multimodel import registry
from t2t_multimodel.files import replacing
from t2t_multimodel.training.metrics_log import is_number, read_metrics

CURVES_FILE = "learning_curves.png"

# Of several metrics of one evaluation, the one to draw; first that is there.
_HEADLINES = ("accuracy_top1", "bleu", "cer", "wer", "bracket_f1", "exact_match", "teacher_forced_accuracy")


class Progress:
    """Shows where training is: step, each problem's loss, tokens a second, time left.

    On a terminal a bar with the losses in a line below it; elsewhere a plain line every `seconds_between` seconds.
    Where nothing can be written any more, such as to a closed pipe, it is silent.
    """

    def __init__(self, total_steps, problems, start_step=0, stream=None, seconds_between=15.0):
        self.total_steps, self.step = total_steps, start_step
        self._stream = stream or sys.stderr
        self._seconds_between = seconds_between
        self._names = short_names(problems)
        self._losses = {}  # problem → moving average
        self._programs = ""
        self._tokens = 0
        self._recent = collections.deque([(time.monotonic(), start_step, 0)], maxlen=50)  # (when, step, tokens)
        self._last_line = time.monotonic()
        self._bar = self._below = None
        self._gone = self._stream is None
        if not self._gone:
            self._unless_gone(self._open, total_steps, start_step)

    def _open(self, total_steps, start_step):
        if self._stream.isatty():
            from tqdm import tqdm

            common = dict(file=self._stream, dynamic_ncols=True, leave=True)
            layout = "step {n_fmt}/{total_fmt} |{bar}| {elapsed} so far{postfix}"
            self._bar = tqdm(total=total_steps, initial=start_step, bar_format=layout, position=0, **common)
            self._below = tqdm(total=0, bar_format="{desc}", position=1, **common)

    def update(self, step, losses=None, tokens=0):
        """Now `step` updates are done; `losses` ({problem: loss}) and `tokens` are those since the last call."""
        for problem, loss in (losses or {}).items():
            before = self._losses.get(problem, loss)
            self._losses[problem] = 0.9 * before + 0.1 * loss if math.isfinite(before) else loss
        self._tokens += tokens
        self._recent.append((time.monotonic(), step, self._tokens))
        self.step = step
        self._unless_gone(self._show)

    def programs(self, there, count, show=False):
        """So many programs are compiled, of so many that are needed; `show`: before any update shows it."""
        self._programs = f"programs {there}/{count}" if there < count else ""
        if show:
            self._unless_gone(self._show_programs)

    def say(self, text):
        """Prints `text` without disturbing the bar."""
        self._unless_gone(self._print, text)

    def close(self):
        if self._bar is not None:
            self._unless_gone(self._below.refresh)
            self._unless_gone(self._bar.close)
            self._unless_gone(self._below.close)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def _unless_gone(self, show, *arguments):
        """Training does not end because its display does."""
        if not self._gone:
            try:
                show(*arguments)
            except (OSError, ValueError):
                self._gone = True

    def _show(self):
        if self._bar is not None:
            self._bar.set_postfix_str(self._speed(), refresh=False)
            self._below.set_description_str("loss  " + self._loss_text(), refresh=False)
            self._bar.update(self.step - self._bar.n)
            if self._bar.n == self._bar.last_print_n:  # the bar has just been drawn: draw the line below with it
                self._below.refresh()
        elif time.monotonic() - self._last_line >= self._seconds_between or self.step >= self.total_steps:
            self._last_line = time.monotonic()
            self._print(f"step {self.step}/{self.total_steps}  {self._speed()}  loss {self._loss_text()}")

    def _show_programs(self):
        if self._bar is not None:
            self._bar.set_postfix_str(self._speed())
        elif time.monotonic() - self._last_line >= self._seconds_between:
            self._last_line = time.monotonic()
            self._print(f"step {self.step}/{self.total_steps}  {self._programs}")

    def _print(self, text):
        if self._bar is not None:
            self._bar.write(text, file=self._stream)
        else:
            print(text, file=self._stream, flush=True)

    def _speed(self):
        (then, first_step, first_tokens), (now, last_step, tokens) = self._recent[0], self._recent[-1]
        seconds, steps = max(now - then, 1e-9), last_step - first_step
        if not steps:
            return self._programs
        left = (self.total_steps - last_step) * seconds / steps
        programs = f", {self._programs}" if self._programs else ""
        return f"{(tokens - first_tokens) / seconds:,.0f} tokens/s, {format_seconds(left)} left{programs}"

    def _loss_text(self):
        seen = [(short, self._losses[name]) for name, short in self._names.items() if name in self._losses]
        return "  ".join(f"{short} {loss:.2f}" for short, loss in seen)


def format_table(rows):
    """Rows of cells as aligned text, the first row being the head; columns of numbers (or of text that is) stand right.

    Whole numbers get thousands separators, other numbers four significant digits, None stays blank.
    """
    head, *body = [list(row) for row in rows]
    right = [body and all(row[i] is None or reads_as_number(row[i]) for row in body) for i in range(len(head))]
    cells = [[str(cell) for cell in head], *([format_cell(cell) for cell in row] for row in body)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    lines = []
    for row in [cells[0], ["-" * width for width in widths], *cells[1:]]:
        aligned = (f"{cell:>{width}}" if r else f"{cell:<{width}}" for cell, width, r in zip(row, widths, right))
        lines.append("  ".join(aligned).rstrip())
    return "\n".join(lines)


def format_score(metric, value):
    """A metric as people write it: BLEU and F1, which run to 100, with one digit after the point, rates with three."""
    return registry.metrics.get(metric).format(value) if metric in registry.metrics else f"{value:.3f}"


def score_range(metric, values):
    """The (lowest, highest) of the axis of a metric's curve: from 0 to its perfect value, and all that was measured."""
    scale = registry.metrics.get(metric).scale if metric in registry.metrics else 1.0
    most = {None: 0.0, 100.0: 100.0}.get(scale, 1.0)
    return min(0.0, *values), 1.03 * max(most, *values) or 1.0  # wer and cer can pass 1, r2 can be negative


def format_seconds(seconds):
    """75 → "1:15", 3675 → "1:01:15"."""
    minutes, seconds = divmod(int(round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def short_names(names):
    """{name: name without the words that all of `names` begin with}, for narrow places."""
    names = list(names)
    common = os.path.commonprefix(names) if len(names) > 1 else ""
    common = common[: common.rfind("_") + 1]
    return {name: name[len(common) :] or name for name in names}


def draw_learning_curves(output_dir, headlines=None):
    """Draws one small panel a problem: training loss and the headline metric of its evaluations, over steps.

    Args:
      headlines: {problem: name of the metric to draw}; for others the first of the usual ones.

    Returns:
      Path of the picture in `output_dir`; None where nothing has been logged yet.
    """
    losses, scores, headlines = learning_curves(read_metrics(output_dir), headlines or {})
    problems = sorted({*losses, *scores})
    if not problems:
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(4, len(problems))
    rows = -(-len(problems) // columns)
    figure = Figure(figsize=(3.6 * columns + 0.4, 2.6 * rows + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
    for panel, problem in zip(panels, problems):
        _draw_panel(panel, problem, losses.get(problem), scores.get(problem), headlines.get(problem, ""))
    for panel in panels[max(0, len(problems) - columns) : len(problems)]:
        panel.set_xlabel("step", fontsize=8)
        panel.tick_params(labelbottom=True)
    for panel in panels[len(problems) :]:
        panel.set_visible(False)
    figure.suptitle("Training loss (grey: measured, blue: smoothed) and score of the evaluations (orange)", fontsize=10)
    path = Path(output_dir) / CURVES_FILE
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=130, format="png")
    return path


def learning_curves(records, headlines):
    """({problem: ([step], [loss])}, {problem: ([step], [score])}, {problem: name of its score}).

    Args:
      records: of `read_metrics`. headlines: {problem: name of the metric}; for others the first of the usual ones.
    """
    headlines = dict(headlines)
    losses, scores = {}, {}
    for record in records:
        problem, step = record.get("problem"), record["step"]
        if not problem:
            continue
        if record["split"] == "train":
            name, into = "loss", losses
        else:
            wanted = (headlines.get(problem), *_HEADLINES)  # a run may have been evaluated without decoding
            found = next((n for n in wanted if is_number(record.get(n))), None)
            name, into = found, scores
        if is_number(record.get(name)):
            if into is scores:
                headlines[problem] = name
            xs, ys = into.setdefault(problem, ([], []))
            xs.append(step)
            ys.append(record[name])
    return losses, scores, headlines


def _draw_panel(panel, problem, losses, scores, headline):
    blue, orange, grey = "#1f5fa8", "#d1600a", "#c8ccd2"
    panel.set_title(problem, fontsize=10, fontweight="bold", loc="left")
    panel.tick_params(labelsize=7)
    panel.tick_params(axis="y", colors=blue)
    panel.grid(True, color="#eeeeee", linewidth=0.6)
    panel.spines["top"].set_visible(False)
    if losses:
        steps, values = losses
        panel.plot(steps, values, color=grey, linewidth=0.8)
        panel.plot(steps, smoothed(values), color=blue, linewidth=1.6)
        panel.set_ylabel("loss", fontsize=8, color=blue)
        panel.set_ylim(bottom=0)
    if scores:
        steps, values = scores
        right = panel.twinx()
        right.plot(steps, values, color=orange, linewidth=1.4, marker="o", markersize=3)
        right.set_ylabel(headline.replace("_", " "), fontsize=8, color=orange)
        right.tick_params(labelsize=7, colors=orange)
        right.spines["top"].set_visible(False)
        right.set_ylim(*score_range(headline, values))
        last = format_score(headline, values[-1])
        panel.set_title(f"{headline.replace('_', ' ')} {last}", fontsize=9, loc="right", color=orange)


def smoothed(values, weight=0.8):
    """The moving average in which each value counts 1 - weight, corrected for the start."""
    smooth, total, mass = [], 0.0, 0.0
    for value in values:
        total, mass = weight * total + (1 - weight) * value, weight * mass + (1 - weight)
        smooth.append(total / mass)
    return smooth


def reads_as_number(cell):
    try:
        float(cell)
    except (TypeError, ValueError):
        return False
    return not isinstance(cell, bool)


def format_cell(value):
    if value is None:
        return ""
    if not is_number(value):
        return str(value)
    number = float(value)
    if number.is_integer():
        return f"{int(number):,}"
    return f"{number:,.4g}" if abs(number) < 10_000 else f"{number:,.0f}"
