"""Part 1 of a modality: what a sample is, and what it is made from at decoding and in tables of files."""

from collections.abc import Iterable
from typing import Any, ClassVar

from t2t_multimodel.errors import MustDefine


class Samples:
    """The methods of a `Modality` (base.py) about its samples; each has a default, but for `check`."""

    modality_name: ClassVar[str] = ""  # set by @register_modality: the class's name in snake_case unless it says one

    def declaration_fault(self) -> str:
        """What is wrong with the declaration itself, as a clause after "its inputs …"; "" where nothing is."""
        return ""

    def check(self, value: Any) -> None:
        """Raises `ValueError` with the reason if `value` is not a prepared sample."""
        raise MustDefine(self, "check(value)")

    def from_line(self, line: Any) -> Any:
        """The sample that a person gives at decoding: a line of a file or an argument of `decode`, as text or a path;
        bytes are the content of such a file.

        Raises:
          OSError, ValueError: it can't be read.
        """
        raise ValueError(f"{self.modality_name} can't be read from a line of text; give arrays in Python")

    def limited(self, hparams: Any) -> "Samples":
        """The modality for what strangers send: it refuses, before all is decoded, what `hparams` exclude anyway."""
        return self

    def from_cell(self, value: Any) -> Any:
        """The sample in a cell of a table: text, a number, or what JSON holds. Raises `ValueError` if it is none."""
        return self.from_line(value) if isinstance(value, str) else value

    def from_media(
        self, name: str, content: bytes | None = None, seconds: tuple[float, float | None] | None = None
    ) -> Any:
        """The sample in a picture or recording: the file `name`, or `content`, the bytes of one that is called so.

        Args:
          seconds: start and end of the part that is wanted; an end of None is that of the recording.

        Raises:
          ValueError: it can't be read.
        """
        raise ValueError(f"{self.modality_name} is not read from files")

    def parts(self, sample: Any) -> list[tuple["Samples", Any]]:
        """(modality, what stands for it) of each member, or of itself, in a sample that need not be prepared."""
        return [(self, sample)]

    @property
    def lacks_classes(self) -> bool:
        """Whether it is declared without its classes, which a table then gives it (`with_classes`)."""
        return False

    def with_classes(self, values: Iterable[Any]) -> "Samples":
        """The modality with the classes of these samples, sorted."""
        return self
