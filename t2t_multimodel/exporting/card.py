"""The card of a published folder: README.md with metadata as the Hugging Face Hub reads it, and scores."""

import importlib.metadata
import json
import re
from typing import Any

from t2t_multimodel.decode_hparams import describe
from t2t_multimodel.errors import UserError
from t2t_multimodel.json_files import ANY, read_json

_LIBRARY = "t2t-multimodel"
_ABOUT = ("split", "examples", "decoding")  # beside the scores: what they are of
# (what comes in: `Modality.file_kind`, whether the answer is text) → the Hub's name of the task.
_TASKS = {
    ("text", True): "text-generation",
    ("picture", True): "image-to-text",
    ("sound", True): "automatic-speech-recognition",
    ("text", False): "text-classification",
    ("picture", False): "image-classification",
    ("sound", False): "audio-classification",
}


def card(part: Any) -> str:
    """The text of README.md for a `Slice`."""
    spec, name = part.spec, part.spec.name
    told = spec.targets.is_text or spec.targets.ranked
    task = _TASKS.get((spec.inputs.file_kind, spec.targets.is_text)) if told else None
    scores = scores_of(part)
    metadata: dict[str, Any] = {"library_name": _LIBRARY, "tags": ["multimodel", "multi-task", "keras"]}
    if task:
        metadata["pipeline_tag"] = task
    if scores and _as_scored(part, scores):
        metadata["model-index"] = [{"name": name, "results": [_result(name, task or "other", scores)]}]
    # JSON is YAML.
    head = "\n".join(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in metadata.items())
    return f"---\n{head}\n---\n\n{_text(part, scores)}"


def scores_of(part: Any) -> dict[str, Any]:
    """{"split", "examples", "decoding", metric: value} of the problem at the step, as t2t-eval wrote them; {} where it
    did not.
    """
    try:
        found = read_json(part.directory.path / "eval" / f"step-{part.step}.json", {str: {str: ANY}})
    except UserError:
        return {}
    scores = found.get(part.spec.name, {})
    known = {metric: value for metric, value in scores.items() if _is_score(value) and metric not in _ABOUT}
    return {name: scores.get(name, "") for name in _ABOUT} | known if known else {}


def _as_scored(part, scores):
    """Whether the folder decodes as the answers were that the scores are of."""
    return not scores["decoding"] or scores["decoding"] == describe(part.settings, part.spec.grammar)


def _is_score(value):
    return isinstance(value, int | float) and not isinstance(value, bool)


def _metrics(scores):
    return {name: value for name, value in scores.items() if name not in _ABOUT}


def _result(name, task, scores):
    return {
        "task": {"type": task},
        "dataset": {"name": name, "type": name, "split": scores["split"]},
        "metrics": [{"type": metric, "name": metric, "value": value} for metric, value in _metrics(scores).items()],
    }


def _text(part, scores):
    spec, name = part.spec, part.spec.name
    together = sorted(set(part.directory.run().problems) - {name})
    trained = f"together with {', '.join(together)}" if together else "alone"
    lines = [
        f"# {_plain(name)}",
        "",
        f"A model of `{_LIBRARY}` that reads {spec.inputs.modality_name} and writes {spec.targets.modality_name}. "
        f"It was trained for {part.step:,} steps, {_plain(trained)}; this is the part for `{_plain(name)}`: "
        f"{part.model.count_params():,} weights.",
        "",
        "```python",
        "import t2t_multimodel",
        "",
        'model = t2t_multimodel.load("this folder")',
        f'model.decode("{_plain(name)}", [...])',
        "```",
        "",
        f"Written by {_LIBRARY} {importlib.metadata.version(_LIBRARY)}.",
    ]
    if scores:
        decoding = f", {_plain(scores['decoding'])}" if scores["decoding"] else ""
        place = f"On {scores['examples']} examples of its {_plain(str(scores['split']))} split{decoding}:"
        lines += ["", "## Scores", "", place, ""]
        if not _as_scored(part, scores):
            own = _plain(describe(part.settings, spec.grammar))
            lines += [f"This folder answers by other settings, which have other scores: {own}.", ""]
        lines += ["| metric | value |", "| --- | --- |"]
        lines += [f"| {_plain(metric)} | {value:.6g} |" for metric, value in _metrics(scores).items()]
    return "\n".join(lines) + "\n"


def _plain(text):
    """`text` without what Markdown would take for markup."""
    return re.sub(r"[^\w ,.:+-]", "", text)
