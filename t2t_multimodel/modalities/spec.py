"""A problem as the model sees it: the modalities of its two sides and the id of its command token."""

import dataclasses
from typing import Any

from t2t_multimodel.modalities.base import Modality


@dataclasses.dataclass(frozen=True)
class ProblemSpec:
    """What a model needs to know of a problem.

    `inputs` and `targets` are modalities that know their vocabulary (`Modality.bind`). Problems with modalities of
    the same `weights_name` share their nets.
    """

    name: str
    inputs: Modality
    targets: Modality
    command_id: int = 0  # id of the command token in the target's vocabulary; 0 where the target has none
    # What the decoder keeps its answers to (decoding/grammars.py); weights and examples do not depend on it.
    grammar: str = dataclasses.field(default="", compare=False)

    @property
    def signature(self) -> tuple[str, str]:
        """Problems of one signature share one traced graph."""
        return (self.inputs.weights_name, self.targets.weights_name)

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON, without the name."""
        values = {"inputs": self.inputs.to_json(), "targets": self.targets.to_json(), "command_id": self.command_id}
        return values | ({"grammar": self.grammar} if self.grammar else {})

    @classmethod
    def from_json(cls, name: str, values: dict[str, Any]) -> "ProblemSpec":
        """Raises `KeyError`, `TypeError`, `ValueError` or `UserError` where the values are not those of a spec."""
        inputs, targets = (Modality.from_json(values[side]) for side in ("inputs", "targets"))
        command, grammar = values["command_id"], values.get("grammar", "")
        if type(command) is not int or type(grammar) is not str:
            raise ValueError(f"command_id {command!r} or grammar {grammar!r} is of the wrong type")
        return cls(name, inputs, targets, command, grammar)
