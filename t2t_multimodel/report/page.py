"""A report as one self-contained HTML file, and the same as Markdown: sections, tables, figures, pictures, sound.

    page = Page("Run run1", "tiny8, 5,000 updates")
    section = page.section("Scores")
    section.text("On scenes that the model has never seen.")
    section.table([("problem", "metric", "score"), ("tiny_ende", "bleu", 99.1)], caption="Test split")
    section.figure(figures.curves(panels), alt="Loss of each problem falls from 7 to 0.1", caption="Learning curves")
    page.write("run1/report.html")
    page.write_markdown("run1/report.md")

All text is escaped in both formats, so data can't become markup. The page loads no external content and runs no script
(its content security policy forbids both); figures, pictures and sound are embedded as data URIs.
"""

import base64
import dataclasses
import io
import itertools
import math
import re
import wave
from pathlib import Path
from typing import Any

import numpy as np

from t2t_multimodel.files import write_file
from t2t_multimodel.training.reporting import format_cell, reads_as_number

MOODS = ("plain", "good", "bad", "unsure")  # of a note or an example: neutral, right, wrong, undecided
_SMALLEST_SHOWN = 160  # pixels: smaller pictures are enlarged by an integer factor
_PIXELS_PER_INCH = 96  # of a figure


class Section:
    """A section of a page. Every method appends one element; `section` and `details` return the new section."""

    def __init__(self, title, level=2):
        self.title, self.level = title, level
        self.anchor = ""  # set by the page, which knows all titles
        self.blocks = []

    def section(self, title):
        """A subsection → `Section`."""
        return self._add(Section(title, self.level + 1))

    def details(self, summary):
        """A section that is collapsed until it is clicked → `Section`. Its content is in the Markdown too."""
        return self._add(Details(summary, self.level + 1))

    def text(self, *paragraphs):
        for paragraph in paragraphs:
            self._add(Text(str(paragraph)))

    def note(self, text, mood="plain"):
        """A highlighted sentence, for a verdict or a warning; `mood` is one of `MOODS`."""
        self._add(Note(str(text), _checked(mood)))

    def items(self, texts):
        """A bulleted list."""
        self._add(Items([str(text) for text in texts]))

    def table(self, rows, caption="", moods=None):
        """A table; the first of `rows` is its head (hidden if all its cells are ""); numbers are right-aligned.

        Args:
          rows: lists of cells: text, numbers (formatted as in `format_table` of training/reporting.py), or None: blank.
          moods: {(row, column): mood} of cells to colour; row 0 is the first below the head.
        """
        for mood in (moods or {}).values():
            _checked(mood)
        self._add(Table([list(row) for row in rows], caption, dict(moods or {})))

    def figure(self, figure, alt, caption=""):
        """A matplotlib `Figure` (see figures.py), drawn as SVG.

        Args:
          alt: a description for readers who can't see the figure.
        """
        width = round(_PIXELS_PER_INCH * figure.get_figwidth())
        self._add(Picture(svg_uri(figure), alt, caption, width, drawn=True))

    def image(self, pixels, alt, caption=""):
        """A picture, uint8 [height, width, channels], or the bytes of a PNG; small ones are enlarged by an integer."""
        uri, width = image_uri(pixels)
        self._add(Picture(uri, alt, caption, width))

    def audio(self, samples, rate, label):
        """An audio player: int16 [samples] at `rate` Hz, with a `label`."""
        self._add(Sound(wav_uri(samples, rate), label))

    def code(self, text, caption=""):
        """Text in a monospaced font: a command, a file."""
        self._add(Code(text, caption))

    def examples(self, cards):
        """`Card`s side by side."""
        self._add(Examples(list(cards)))

    def _add(self, block):
        self.blocks.append(block)
        return block

    kind = "section"

    def markdown(self):
        head = f"{'#' * min(self.level, 6)} {_plain(self.title)}"
        return "\n\n".join([head, *filter(None, (block.markdown() for block in self.blocks))])


class Details(Section):
    """A section that is collapsed until it is clicked."""

    kind = "details"

    def markdown(self):
        inner = [block.markdown() for block in self.blocks]
        return "\n\n".join([f"**{_plain(self.title)}**", *filter(None, inner)])


class Page:
    """The whole report. The table of contents lists the sections in the order of their creation."""

    def __init__(self, title, subtitle=""):
        self.title, self.subtitle = title, subtitle
        self.sections = []

    def section(self, title):
        """A new section at the end of the page → `Section`."""
        self.sections.append(Section(title))
        return self.sections[-1]

    def html(self):
        """The page as HTML text."""
        from jinja2 import Environment, FileSystemLoader, StrictUndefined

        self._give_anchors()
        templates = Environment(
            loader=FileSystemLoader(Path(__file__).parent),
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
            undefined=StrictUndefined,
            finalize=_visible,
        )
        style = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
        return templates.get_template("page.html").render(page=self, style=style)

    def markdown(self):
        """The page as Markdown: texts, tables, and the alternative text of figures, pictures and sound."""
        head = [f"# {_plain(self.title)}", *([_paragraph(self.subtitle)] if self.subtitle else [])]
        return "\n\n".join([*head, *(section.markdown() for section in self.sections)]) + "\n"

    def write(self, path):
        """Writes the HTML file atomically; returns its path."""
        return _write(path, self.html())

    def write_markdown(self, path):
        """Writes the Markdown file atomically; returns its path."""
        return _write(path, self.markdown())

    def _give_anchors(self):
        taken = set()

        def give(sections):
            for section in sections:
                stem = re.sub(r"[^a-z0-9]+", "-", section.title.lower()).strip("-") or "section"
                more = (f"{stem}-{i}" for i in itertools.count(2))
                anchor = next(a for a in itertools.chain([stem], more) if a not in taken)
                taken.add(anchor)
                section.anchor = anchor
                give([block for block in section.blocks if isinstance(block, Section)])

        give(self.sections)


@dataclasses.dataclass(frozen=True)
class Card:
    """One example: its input, the model's answer, the right answers.

    picture: uint8 [height, width, channels] or None. sound: (int16 [samples], rate) or None. fields: (name, text)
    pairs. alt: a description of the picture for readers who can't see it.
    """

    title: str
    fields: list
    picture: Any = None
    sound: Any = None
    alt: str = ""
    mood: str = "plain"
    verdict: str = ""  # the mood as a word, so that it is not shown by colour only

    def __post_init__(self):
        _checked(self.mood)

    @property
    def picture_uri(self):
        return image_uri(self.picture)[0]

    @property
    def picture_width(self):
        return image_uri(self.picture)[1]

    @property
    def sound_uri(self):
        return wav_uri(*self.sound)

    def markdown(self):
        head = f"**{_plain(self.title)}**" + (f" ({_plain(self.verdict)})" if self.verdict else "")
        shown = [(self.alt, self.picture), ("sound", self.sound)]
        media = [f"- [{_plain(name or 'picture')}]" for name, value in shown if value is not None]
        return "\n".join([head, "", *media, *(f"- {_plain(name)}: {_plain(text)}" for name, text in self.fields)])


# ---- The elements of a section; the template draws each by its `kind`


@dataclasses.dataclass(frozen=True)
class Text:
    text: str
    kind = "text"

    def markdown(self):
        return _paragraph(self.text)


@dataclasses.dataclass(frozen=True)
class Note:
    text: str
    mood: str
    kind = "note"

    def markdown(self):
        return f"> {_paragraph(self.text)}"


@dataclasses.dataclass(frozen=True)
class Items:
    texts: list
    kind = "items"

    def markdown(self):
        return "\n".join(f"- {_paragraph(text)}" for text in self.texts)


@dataclasses.dataclass(frozen=True)
class Table:
    rows: list
    caption: str
    moods: dict
    kind = "table"

    @property
    def head(self):
        return [str(cell) for cell in self.rows[0]]

    @property
    def body(self):
        return [[format_cell(cell) for cell in row] for row in self.rows[1:]]

    @property
    def right(self):
        """For each column, whether it is right-aligned: all its cells are numbers, numeric text or blank."""
        columns = ([row[i] for row in self.rows[1:]] for i in range(len(self.rows[0])))
        return [bool(c) and all(x is None or reads_as_number(x) for x in c) for c in columns]

    def markdown(self):
        line = lambda cells: "| " + " | ".join(cells) + " |"
        rule = line(["---:" if right else "---" for right in self.right])
        rows = [line([_plain(cell) for cell in row]) for row in [self.head, *self.body]]
        table = "\n".join([rows[0], rule, *rows[1:]])
        return f"{_paragraph(self.caption)}\n\n{table}" if self.caption else table


@dataclasses.dataclass(frozen=True)
class Picture:
    uri: str
    alt: str
    caption: str
    width: int  # pixels, if there is room
    drawn: bool = False  # a figure of lines and text, not pixels
    kind = "picture"

    def markdown(self):
        return f"[{_plain(': '.join(filter(None, (self.caption, self.alt))))}]"


@dataclasses.dataclass(frozen=True)
class Sound:
    uri: str
    label: str
    kind = "sound"

    def markdown(self):
        return f"[{_plain(self.label)}]"


@dataclasses.dataclass(frozen=True)
class Code:
    text: str
    caption: str
    kind = "code"

    def markdown(self):
        fence = "`" * max(3, 1 + max(map(len, re.findall("`+", self.text)), default=0))
        return "\n\n".join(filter(None, [_paragraph(self.caption), f"{fence}\n{self.text}\n{fence}"]))


@dataclasses.dataclass(frozen=True)
class Examples:
    cards: list
    kind = "examples"

    def markdown(self):
        return "\n\n".join(card.markdown() for card in self.cards)


# ---- Data URIs


def image_uri(pixels):
    """(data URI of a PNG, display width in pixels) of uint8 [height, width, channels] or PNG bytes."""
    from PIL import Image

    if isinstance(pixels, bytes):
        width = Image.open(io.BytesIO(pixels)).width
        return _uri("image/png", pixels), width
    pixels = np.asarray(pixels, np.uint8)
    picture = Image.fromarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[-1] == 1 else pixels)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return _uri("image/png", buffer.getvalue()), picture.width * max(1, math.ceil(_SMALLEST_SHOWN / picture.width))


def wav_uri(samples, rate):
    """The data URI of a WAV file (16 bits, one channel) of int16 [samples] at `rate` Hz."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(int(rate))
        file.writeframes(np.asarray(samples, "<i2").tobytes())
    return _uri("audio/wav", buffer.getvalue())


def svg_uri(figure):
    """The data URI of a matplotlib figure; `figures.INK` becomes the text colour of the page."""
    from t2t_multimodel.report import figures

    return _uri("image/svg+xml", figures.svg(figure).encode())


def _uri(kind, content):
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


# ---- Text


# Control characters, which HTML does not allow, as visible symbols; tabs and line ends stay.
_CONTROLS = {code: 0x2400 + code for code in range(32) if code not in (9, 10, 13)} | {127: 0x2421}
_CONTROLS |= dict.fromkeys(range(128, 160), 0xFFFD)


def _visible(value):
    return value.translate(_CONTROLS) if type(value) is str else value  # not Markup, which is our own


def _plain(text):
    """Text escaped for Markdown, inside a line. An underscore between letters needs no escape."""
    text = " ".join(_visible(str(text)).split())
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", text)


def _paragraph(text):
    """`_plain` at the start of a line, where list and heading characters need an escape too."""
    return re.sub(r"^(\d*)([.)](?=\s)|[#+=-])", r"\1\\\2", _plain(text))


def _checked(mood):
    if mood not in MOODS:
        raise ValueError(f"a mood is one of {', '.join(MOODS)}, not {mood!r}")
    return mood


def _write(path, text):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # A lone surrogate, which UTF-8 can't encode, becomes a question mark.
    write_file(path, text.encode("utf-8", "replace"))
    return path
