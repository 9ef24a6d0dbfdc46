"""Trains, scores and uses a model from Python: a problem of our own, from its class to its answers, in a minute.

python examples/train_in_python.py [FOLDER [TRAIN_STEPS]]
"""

import random
import sys
from pathlib import Path

import t2t_multimodel as t2t
from t2t_multimodel.modalities import Text
from t2t_multimodel.problem import Problem

NAMES = "zero one two three four five six seven eight nine".split()


class SpelledDigits(Problem):
    """Digits → their names: "4 0 7" → "four zero seven"."""

    inputs, targets = Text(), Text()
    metrics = ("exact_match", "bleu")
    vocabulary_size = 400

    def samples(self, split):
        numbers = random.Random(split)
        for i in range(600 if split == "train" else 40):
            digits = [numbers.randrange(10) for _ in range(numbers.randint(1, 3))]
            yield {
                "inputs": " ".join(map(str, digits)),
                "targets": " ".join(NAMES[d] for d in digits),
                "key": f"{split}-{i}",
            }


# What makes the model small and quick; a real one keeps what its set says.
SMALL = {
    "hidden_size": 32,
    "num_heads": 4,
    "encoder_blocks": 1,
    "attention_blocks": 1,
    "mixer_blocks": 1,
    "decoder_blocks": 1,
    "use_experts": False,
    "learning_rate_warmup_steps": 20,
}


def main(folder="spelled_digits", train_steps=120):
    folder, steps = Path(folder), {"train_steps": int(train_steps)}
    t2t.generate_data(SpelledDigits, folder / "data", workers=1)
    run = t2t.train(SpelledDigits, "multimodel_tiny", folder / "data", folder / "run", overrides=SMALL | steps)
    scores = t2t.evaluate(run)
    print("exact match on test examples:", scores["spelled_digits"]["exact_match"])
    print("4 0 7 →", *t2t.load(run).decode("spelled_digits", ["4 0 7"]))
    return scores


if __name__ == "__main__":
    main(*sys.argv[1:])
