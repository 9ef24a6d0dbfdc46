"""Speech synthesis for tiny8: a small formant synthesiser with one sound per letter.

A voice is a train of pulses that excite two decaying resonances (the formants); letters such as "s" are mostly noise
around the second formant.
"""

import numpy as np

RATE = 8000  # samples a second
_FIRST_FORMANTS = (250, 320, 410, 525, 670, 860)  # Hz, steps wide enough that no vocal tract blurs them
_SECOND_FORMANTS = (1100, 1400, 1800, 2300, 2950)
_VOWELS, _BREATHED = "aeiou", "cfhkpstxz"
_VOWEL_SECONDS, _CONSONANT_SECONDS, _SPACE_SECONDS = 0.075, 0.060, 0.050
_DAMPING = (220.0, 320.0)  # 1/s, of the two formants


def speak(text, seed):
    """Synthesises a sentence of the letters a to z, spaces and commas.

    Args:
      text: what to say.
      seed: decides speaker and noise: pitch 90–220 Hz, speed ×0.8–1.25, vocal tract ±6 %, 14–30 dB above the noise.

    Returns:
      int16 [samples] at 8,000 Hz.
    """
    rng = np.random.default_rng(seed)
    speed, tract = np.exp(rng.uniform(np.log(0.8), np.log(1.25))), rng.uniform(0.94, 1.06)
    sounds = [_sound(letter) for letter in text]
    lengths = [max(1, int(RATE * seconds * rng.uniform(0.9, 1.1) / speed)) for *_, seconds in sounds]
    samples = sum(lengths)

    def per_sample(column):
        return np.repeat(np.array([sound[column] for sound in sounds], np.float32), lengths)

    first, second, loudness, breath = (per_sample(column) for column in range(4))
    seconds = np.arange(samples, dtype=np.float32) / np.float32(RATE)
    pitch = rng.uniform(90, 220) * np.linspace(1.08, 0.92, samples, dtype=np.float32)
    pitch = pitch * (1 + 0.02 * np.sin(float(2 * np.pi * rng.uniform(3, 6)) * seconds))
    since_pulse = _fraction(np.cumsum(pitch, dtype=np.float64) / RATE) / pitch  # seconds since the last pulse
    voice = np.zeros(samples, np.float32)
    for formant, damping in zip((first, second), _DAMPING):
        voice += np.exp(-damping * since_pulse) * np.sin(np.float32(2 * np.pi * tract) * formant * since_pulse)
    turns = _fraction(np.cumsum(second, dtype=np.float64) * (tract / RATE))
    hiss = rng.standard_normal(samples, np.float32) * np.sin(2 * np.pi * turns)
    signal = loudness * _envelope(lengths) * ((1 - breath) * voice + breath * hiss)

    signal /= np.sqrt(np.mean(signal**2)) + 1e-9
    noise = rng.standard_normal(samples, np.float32) * np.float32(10 ** (-rng.uniform(14, 30) / 20))
    return np.clip(np.rint((signal + noise) * rng.uniform(2000, 5000)), -32768, 32767).astype(np.int16)


def _fraction(turns):
    """What is left of a count of turns without the whole ones."""
    return (turns - np.floor(turns)).astype(np.float32)


def _sound(letter):
    """(first formant, second formant, loudness, share of breath, seconds) of a letter or a pause."""
    place = ord(letter) - ord("a")
    if not 0 <= place < 26:
        return 0.0, 0.0, 0.0, 0.0, _SPACE_SECONDS
    # Steps of 7 in a grid of 30: letters that follow each other in the alphabet sound far apart.
    cell = 7 * place % 30
    breath, seconds = (0.6 if letter in _BREATHED else 0.0), (_CONSONANT_SECONDS, _VOWEL_SECONDS)[letter in _VOWELS]
    return _FIRST_FORMANTS[cell % 6], _SECOND_FORMANTS[cell // 6], 1.0, breath, seconds


def _envelope(lengths):
    """Rises and falls within each sound, so that doubled letters are heard as two."""
    sizes = np.repeat(lengths, lengths)
    places = np.arange(len(sizes)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return 0.15 + 0.85 * np.sqrt(np.sin(((places + 0.5) * np.pi / sizes).astype(np.float32)))
