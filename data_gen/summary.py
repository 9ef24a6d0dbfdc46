"""The table at the end of t2t-datagen: examples, bytes, tokens, lengths and time of each problem."""

from t2t_multimodel.data_gen.generate import mean_length
from t2t_multimodel.modalities import Modality


def table(names, results, seconds):
    """The table as text.

    Args:
      names: the requested problems; one without a result was skipped.
      results: of `generate`.
      seconds: total time.
    """
    found = {result.problem: result for result in results}
    splits = list(dict.fromkeys(split for result in results for split in result.manifest["splits"]))
    head = ["problem", *splits, "size", "tokens", "mean length", "tokens/s", "seconds", ""]
    rows = [_row(name, splits, found.get(name)) for name in names]
    if len(rows) > 1:
        rows.append(_sum(splits, results, seconds))
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    left = {0, len(head) - 3 - 1, len(head) - 1}  # names, lengths and remarks; the other columns are numbers
    lines = [
        "  ".join(c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths))).rstrip()
        for row in [head, *rows]
    ]
    return "\n".join(["", lines[0], "-" * max(map(len, lines)), *lines[1:]])


def _row(name, splits, result):
    if result is None:
        return [name, *["-"] * len(splits), "-", "-", "-", "-", "-", "skipped: its corpus is missing"]
    manifest = result.manifest
    counts = [f"{manifest['splits'][split]['examples']:,}" if split in manifest["splits"] else "-" for split in splits]
    dropped = f", {manifest['dropped_count']:,} dropped" if manifest["dropped_count"] else ""
    lengths = " → ".join(mean_length(manifest, side) for side in ("inputs", "targets"))
    return [
        name,
        *counts,
        _size(_bytes(manifest)),
        f"{_tokens(manifest):,}" if _tokens(manifest) else "-",
        lengths,
        f"{result.tokens_per_second:,.0f}" if result.tokens_per_second else "-",
        f"{result.seconds:,.1f}" if result.made else "-",
        ("made" if result.made else "kept") + dropped,
    ]


def _sum(splits, results, seconds):
    manifests = [result.manifest for result in results]
    counts = [sum(m["splits"][split]["examples"] for m in manifests if split in m["splits"]) for split in splits]
    made = sum(result.made for result in results)
    return [
        "all",
        *(f"{count:,}" for count in counts),
        _size(sum(map(_bytes, manifests))),
        f"{sum(map(_tokens, manifests)):,}",
        "",
        "",
        f"{seconds:,.1f}",
        f"{made} made, {len(results) - made} kept",
    ]


def _bytes(manifest):
    return sum(split["bytes"] for split in manifest["splits"].values())


def _tokens(manifest):
    """Ids of text, of both sides and all splits."""
    sides = {side: Modality.from_json(manifest[side]) for side in ("inputs", "targets")}
    splits = manifest["splits"].values()
    return sum(m.text_ids(split[f"{side[:-1]}_tokens"]) for split in splits for side, m in sides.items())


def _size(count):
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:,.1f} {unit}" if unit != "B" else f"{count} B"
        count /= 1000
    return f"{count:,.1f} TB"
