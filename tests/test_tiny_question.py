"""tiny_question: every question has one right answer, which neither chance nor the question alone gives."""

import itertools
from collections import Counter

from t2t_multimodel import registry
from t2t_multimodel.testing import check_problem


def test_questions_have_one_right_answer():
    check_problem("tiny_question", prepared=20, read=400, worker=False)
    answers, per_question = Counter(), {}
    for sample in itertools.islice(registry.problem("tiny_question").samples("train"), 3000):
        question, (figures, _) = sample["inputs"]["question"], sample["inputs"]["picture"]
        answer = sample["targets"]
        if question.startswith("what"):
            about = question.split()[-1 if "colour" in question else -2]  # "… the star", "… the red thing"
            (meant,) = [figure[:2] for figure in figures if about in figure[:2]]
            assert set(meant) == {about, answer}
        elif question.startswith("is"):
            *_, colour, shape = question.split()
            assert (answer == "yes") == any(figure[:2] == (shape, colour) for figure in figures)
        answers[answer] += 1
        per_question.setdefault(question, Counter())[answer] += 1
    assert max(answers.values()) < 0.16 * 3000
    assert sum(max(counts.values()) for counts in per_question.values()) < 0.42 * 3000  # without the picture
