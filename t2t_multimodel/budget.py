"""A time budget as people write it: 90s, 20m, 1.5h, 1h30m. One way for every command that has `--budget`."""

import re

from t2t_multimodel.errors import UserError

_NUMBER = r"([0-9]+(?:\.[0-9]+)?)"
_WRITTEN = re.compile(rf"(?:{_NUMBER}h)?(?:{_NUMBER}m)?(?:{_NUMBER}s)?")


def parse_budget(text: str | None) -> float:
    """ "90s", "20m", "1.5h", "1h30m" → seconds; raises `UserError` for anything else, and for no time at all."""
    text = (text or "").strip().lower()
    found = _WRITTEN.fullmatch(text)
    if not found or not any(found.groups()):
        raise UserError(f"--budget={text} is no time; write 90s, 20m, 1.5h or 1h30m")
    seconds = sum(float(n) * unit for n, unit in zip(found.groups(default="0"), (3600, 60, 1)))
    if not 0 < seconds < float("inf"):
        raise UserError(f"--budget={text} must be more than nothing and less than for ever; write 90s, 20m or 1h30m")
    return seconds
