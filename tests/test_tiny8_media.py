"""tiny8's pictures and sounds can be told apart, and vary."""

import numpy as np
import pytest

from t2t_multimodel import registry
from t2t_multimodel.problems.tiny8 import lexicon, pictures, rendering, synthesis


def test_pictures_are_all_different_and_of_all_classes():
    problem = registry.problem("tiny_image")
    drawn = {split: {str(sample["inputs"]) for sample in problem.samples(split)} for split in problem.splits}
    assert sum(map(len, drawn.values())) == len(set.union(*drawn.values())) == 8700
    assert {sample["targets"] for sample in problem.samples("train")} == set(pictures.CLASSES)


@pytest.mark.parametrize("shape", lexicon.SHAPES)
@pytest.mark.parametrize("colour", lexicon.COLOURS)
def test_a_figure_has_its_colour_where_it_is_and_nowhere_else(shape, colour):
    picture = rendering.render([(shape, colour, 16, 16, 10)], seed=5).astype(float)
    ground = picture[[0, 0, -1, -1], [0, -1, 0, -1]].mean(0)
    differs = abs(picture - ground).max(-1) > 60
    assert 0.05 < differs.mean() < 0.4
    assert differs[:, 16].any() and not differs[:4].any() and not differs[:, :4].any()
    strongest = {"red": [0], "green": [1], "blue": [2], "yellow": [0, 1], "purple": [0, 2], "white": [0, 1, 2]}[colour]
    mean = picture[differs].mean(0)
    others = [mean[channel] for channel in range(3) if channel not in strongest]
    assert min(mean[strongest]) > max(others, default=0) + (40 if others else 100)


def test_speech_varies_in_speed_and_is_short():
    problem = registry.problem("tiny_speech")
    seconds = [len(problem.prepare(sample)["inputs"]) / 8000 for sample in problem.samples("test")]
    assert np.mean(seconds) < 2.2 and max(seconds) < 5
    same = [len(synthesis.speak("a red star", seed)) for seed in range(30)]
    assert 1.2 < max(same) / min(same) < 1.8


def test_letters_sound_different():
    """The spectrum of one letter resembles itself, spoken by others, more than any other letter."""

    def spectrum(letter, seed):
        sound = synthesis.speak(letter * 6, seed).astype(float)
        spectrum = np.abs(np.fft.rfft(sound, 16384))[:8000]
        spectrum = np.log(np.convolve(spectrum, np.ones(400), "same")[200::200] + 1)
        return spectrum - spectrum.mean()

    letters = "abcdefghijklmnopqrstuvwxyz"
    known = np.array([np.mean([spectrum(letter, seed) for seed in range(8)], 0) for letter in letters])
    right = [
        letters[np.argmin(np.square(known - spectrum(letter, seed)).sum(-1))] == letter
        for letter in letters
        for seed in range(100, 104)
    ]
    assert np.mean(right) > 0.8
