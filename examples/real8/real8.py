"""Eight problems over small real corpora, in the forms in which people keep data; `real8`, all of them together; and
`multimodel_real8`, the hparams set for them.

The corpora lie in the folder that the environment variable REAL8_DIR names, or in `../shared/real8` beside the
checkout. Each problem below is a data sheet and a few lines; the base classes of `t2t_multimodel.problems` read the
forms.
"""

import os
import re
from dataclasses import replace
from pathlib import Path

from t2t_multimodel.errors import UserError
from t2t_multimodel.hparams.multimodel import multimodel_tiny
from t2t_multimodel.mixture import Mixture
from t2t_multimodel.modalities import Audio, Image
from t2t_multimodel.problems import BracketedTrees, CaptionedImages, LabelledImages, SentencePairs, TranscribedSpeech
from t2t_multimodel.registry import register_hparams, register_mixture, register_problem

# Digits and captions share the image net because their pictures have one size: that of the captioned ones.
PICTURE = Image(32, 32, 3)


class InReal8:
    """What the eight have in common: the folder, and the size of their shared vocabulary."""

    vocabulary_size = 4096  # subwords; the text is 1.5 MB

    def base_folder(self):
        here = os.environ.get("REAL8_DIR")
        folder = Path(here).expanduser() if here else Path(__file__).resolve().parents[3] / "shared" / "real8"
        if not folder.is_dir():
            raise UserError(
                f"problem {self.name}: no such folder: {folder}; set the environment variable REAL8_DIR to the folder "
                "with captions, digits, parse, speech, translate_ende and translate_enfr"
            )
        return folder


@register_problem
class RealEnde(InReal8, SentencePairs):
    """Messages of free software, English to German.

    Source: message catalogues of free-software packages, by their translators. Licence: each package's own.
    Size: 8,000 / 400 pairs (train / dev), 0.7 MB; no English message of dev is in train.
    Traps: placeholders (%s, %d), options (-v, --verbose), quotes and runs of blanks are part of the text.
    Metric: BLEU; the copy of the input is a strong baseline, since names and placeholders stay.
    """

    directory = "translate_ende"
    languages = ("English", "German")
    command = "to_german"
    metrics = ("bleu", "exact_match")


@register_problem
class RealDeen(RealEnde):
    """Messages of free software, German to English: the pairs of `real_ende`, turned round."""

    reverse = True
    command = "to_english"


@register_problem
class RealEnfr(InReal8, SentencePairs):
    """Messages of free software, English to French.

    Source, licence, traps and metric: as `real_ende`. Size: 8,000 / 400 pairs (train / dev), 0.7 MB; no English message
    of dev is in train.
    """

    directory = "translate_enfr"
    languages = ("English", "French")
    command = "to_french"
    metrics = ("bleu", "exact_match")


@register_problem
class RealFren(RealEnfr):
    """Messages of free software, French to English: the pairs of `real_enfr`, turned round."""

    reverse = True
    command = "to_english"


@register_problem
class RealDigits(InReal8, LabelledImages):
    """Which of ten digits is written by hand.

    Source: Optical Recognition of Handwritten Digits, UCI Machine Learning Repository. Licence: CC BY 4.0.
    Size: 793 / 158 pictures (train / dev) of 8 × 8 grey pixels, 4 MB; here smoothly enlarged to 32 × 32 in colour.
    Metric: top-1 accuracy; always saying the most frequent digit reaches 0.11.
    """

    directory = "digits"
    image = PICTURE


@register_problem
class RealCaptions(InReal8, CaptionedImages):
    """Two coloured handwritten digits: say which, and how they lie, as in "a red two above a blue seven".

    Source: composed of the digits of `real_digits`. Licence: CC BY 4.0.
    Size: 1,200 / 150 pictures (train / dev) of 32 × 32 pixels, 6 MB; a caption each, and in training its other order.
    Trap: which of the two comes first in a caption is a coin's toss; the picture does not show it. So both orders count
    as right ("a blue seven below a red two"); against the given one alone a perfect model would reach 0.5.
    Metric: exact match of either order.
    """

    directory = "captions"
    image = PICTURE
    command = "to_caption"
    metrics = ("exact_match", "bleu")

    def samples(self, split):
        for sample in super().samples(split):
            both = [sample["targets"], other_order(sample["targets"])]
            yield {**sample, "references": both}
            if split == "train":
                yield {**sample, "targets": both[1], "references": both, "key": f"{sample['key']}, the other order"}


@register_problem
class RealParse(InReal8, BracketedTrees):
    """The constituents of short English software messages.

    Source: messages as in `real_ende`, trees by a rule-based parser (link grammar). Licence: each package's own.
    Size: 1,997 / 250 trees (train / dev) of 6 words on average and 14 at most, 0.2 MB; one sentence of dev is in train.
    The target's leaves are the tags, not the words: there is nothing to copy, and no word is lost to a spelling.
    Trap: the parser leaves marks on words that it guessed, "widget{?}.n", or skipped, "{whether}"; they would tell the
    tag and are no part of the message, so they are taken off the input.
    Metric: bracket F1 after EVALB's rules.
    """

    directory = "parse"
    words_in_tree = False
    command = "to_tree"
    metrics = ("bracket_f1", "exact_match")

    def samples(self, split):
        for sample in super().samples(split):
            yield {**sample, "inputs": " ".join(map(without_parser_marks, sample["inputs"].split(" ")))}


@register_problem
class RealSpeech(InReal8, TranscribedSpeech):
    """English software messages, spoken by a formant synthesiser.

    Source: messages as in `real_ende`, spoken in 14 voices at 140 to 200 words a minute. Licence: each package's own.
    Size: 420 / 60 recordings (train / dev), 13 / 2 minutes, 0.9 to 2.8 s each, FLAC at 22,050 Hz, 20 MB; one sentence
    of dev is in train.
    Rate: 16,000 Hz. In 11 % of all 23 ms frames most of the energy lies above 4 kHz (s, f, sh), which 8,000 Hz would
    cut off, and in none above 8 kHz. A spectrogram has as many positions at either rate, so this costs disk only.
    Metric: character error rate.
    """

    directory = "speech"
    audio = Audio(rate=16000)
    units = "characters"  # 420 sentences have each letter often, and most subwords once
    command = "to_transcript"
    metrics = ("cer", "wer")


register_mixture(
    Mixture(
        name="real8",
        description="Eight small real problems: translation both ways, digits, captions, parsing, speech",
        problems=(  # trees are few and hard to get wholly right; 800 digits are soon learnt
            ("real_ende", 1.2),
            ("real_deen", 1.2),
            ("real_enfr", 1.2),
            ("real_fren", 1.2),
            ("real_digits", 0.4),
            ("real_captions", 1.0),
            ("real_parse", 2.5),
            ("real_speech", 1.0),
        ),
    )
)


@register_hparams
def multimodel_real8():
    """multimodel_tiny for real8: digits of 8 pixels, sound up to 8 kHz, and few recordings."""
    return replace(
        multimodel_tiny(),
        image_stem_stride=1,  # a digit in a captioned picture is only 8 pixels high
        label_smoothing=0.1,
        # Sound as multimodel_speech has it (docs/speech.md has the reasons), with shorter masks: so are the recordings.
        audio_frame_milliseconds=25.0,
        audio_hop_milliseconds=10.0,
        audio_mel_bins=64,  # twice those of tiny8, whose recordings end at 4 kHz
        audio_stack=2,
        audio_strides=(2, 1),
        audio_bin_strides=(2, 2),
        audio_filter_multiplier=8,
        audio_normalize="recording",
        audio_preemphasis=0.97,
        audio_dither=1.0,
        audio_time_masks=1,
        audio_time_mask_milliseconds=300.0,
        audio_bin_masks=1,
        audio_bin_mask_width=10,
        audio_speeds=(0.9, 1.0, 1.1),
        ctc_weight=0.7,  # sound is learnt by CTC; the decoder alone learns the sentences by heart
        optimizer="adam",  # after 10,000 updates of Muon all is as good or better, but for captions: docs/results.md
        train_steps=16_000,
    )


def other_order(caption):
    """ "a red two above a blue seven" → "a blue seven below a red two"."""
    opposite = {"above": "below", "below": "above", "left of": "right of", "right of": "left of"}
    first, relation, second = re.fullmatch(rf"(.+) ({'|'.join(opposite)}) (.+)", caption).groups()
    return f"{second} {opposite[relation]} {first}"


def without_parser_marks(word):
    """ "{whether}" → "whether", "widget{?}.n" → "widget", "or.#nor-j-n" → "or"; other words stay."""
    if re.fullmatch(r"\{.+\}", word):
        return word[1:-1]
    return re.sub(r"\{[!?~&]\}.*$|\.#.+$", "", word)
