"""Reads the JSON of a corpus: one wrong string in it is a bad record, as a wrong line is, and not the end of all."""

import json
import os
from typing import Any

from t2t_multimodel.errors import UserError


def parse(content: bytes, where: str | os.PathLike[str], instead_of_lines: str = "") -> Any:
    """The value of a JSON text of a corpus; raises `UserError`, which begins with `where` and the line.

    `instead_of_lines`: what is expected, said where there are several values, such as JSON Lines.
    """
    try:
        return json.loads(content)
    except RecursionError:
        raise UserError(f"{where}: not valid JSON for captions (nested too deep)") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: not UTF-8 ({error.reason} at byte {error.start + 1})") from None
    except json.JSONDecodeError as error:
        lines = f"; expected: {instead_of_lines}" if instead_of_lines and error.msg == "Extra data" else ""
        raise UserError(
            f"{where}:{error.lineno}: not valid JSON ({error.msg} at column {error.colno}){lines}"
        ) from None
    except ValueError as error:  # a number of thousands of digits
        raise UserError(f"{where}: not valid JSON for captions ({error})") from None
