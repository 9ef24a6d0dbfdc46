"""The hparams sets of the MultiModel: the paper's, one for a single problem, one for a laptop, and their ablations.

A set lists its changes to its parent, with reasons; `t2t_multimodel/hyperparameters.py` explains the fields.
"""

from dataclasses import replace

from t2t_multimodel.hyperparameters import HParams
from t2t_multimodel.registry import register_hparams


@register_hparams(aliases=("multimodel_1p8", "multimodel1p8"))
def multimodel_base():
    """The paper's model for eight problems: hidden size 1024, 240 experts (4 per token), dropout 0.4."""
    return HParams(
        hidden_size=1024,  # paper §3: d, also of the image net
        num_experts=240,  # paper §2.3: when training jointly
        experts_per_token=4,  # paper §2.3: k
        dropout=0.4,  # paper §3; large corpora only, see multimodel_tiny
    )


@register_hparams
def multimodel_single():
    """The paper's model for one problem alone: 60 experts (paper §2.3)."""
    return replace(multimodel_base(), num_experts=60)  # a quarter, since there is one task instead of eight


@register_hparams
def multimodel_tiny():
    """A model of about a million weights for tiny8: learns eight problems in minutes on a CPU."""
    return replace(
        multimodel_base(),
        hidden_size=96,  # the smallest that solved all eight in a joint run
        encoder_blocks=3,  # half the paper's depth learns more in the same time: 90 against 45 BLEU after one minute
        attention_blocks=1,
        mixer_blocks=1,
        decoder_blocks=2,
        num_heads=4,  # 24 features per head
        num_experts=8,  # one per problem
        expert_filter_size=96,  # twice the hidden size, as in the paper, is slower and not better
        dropout=0.0,  # it accumulates on the residual stream: with 0.1 the model ignores its source
        image_stem_filters=(32, 48),  # enough for 32 × 32 pictures
        image_norm="picture",  # 100 against 48 % of pictures right after 700 steps alone
        image_residual_filters=(64, 0),  # two halvings: 8 × 8 after the stem's stride, then 4 × 4 positions
        audio_frame_milliseconds=32.0,  # 256 samples at 8 kHz
        audio_hop_milliseconds=16.0,  # half a frame
        audio_mel_bins=32,  # the synthesiser's formants are far apart
        audio_blocks=2,  # 4 times fewer positions: about 40 for a sentence of 2.6 s
        audio_filter_multiplier=4,  # 8 and 16 features: a layer norm over 2 would keep only a sign
        optimizer="muon",  # 4,000 updates of it are worth 6,500 of Adam: docs/learning.md
        learning_rate=5e-3,  # small models take larger steps: docs/learning.md
        learning_rate_schedule="cosine",  # to zero at the end, since the run is short
        learning_rate_warmup_steps=100,
        weight_decay=0.2,  # trees one point better, translations equal (one seed): docs/learning.md
        batch_tokens=1536,
        batch_examples=32,  # with twice the examples per step the model learns less in the same time
        max_input_length=128,  # the longest sentence of tiny8 has under 64 ids
        max_target_length=128,
        max_audio_seconds=10.0,
        length_window=16,  # lengths are similar: a small window pads as little and shuffles better
        train_steps=3000,
    )


@register_hparams
def multimodel_speech():
    """Speech into text, alone, on a CPU: what speech recognition added since the paper (docs/speech.md)."""
    return replace(
        multimodel_tiny(),
        hidden_size=144,
        encoder_blocks=4,  # the encoder does most of the work: it turns sound into something like letters
        num_experts=4,
        experts_per_token=2,
        audio_frame_milliseconds=25.0,  # the field's; shorter than a sound of speech, longer than a pitch period
        audio_hop_milliseconds=10.0,
        audio_mel_bins=64,  # recordings reach 8 kHz, tiny8's only 4
        audio_stack=2,  # with the strides 40 ms a position: a letter takes about 60 ms at 180 words a minute
        audio_strides=(2, 1),  # each block at full length would take most of the time of a step
        audio_bin_strides=(2, 2),  # the paper keeps every bin through all blocks
        audio_filter_multiplier=8,  # 16 and 32 features, since the bins become fewer
        audio_normalize="recording",  # loudness and room say nothing of the words
        audio_preemphasis=0.97,  # speech falls by 6 dB an octave
        audio_dither=1.0,  # digital silence has no logarithm
        audio_time_masks=1,  # SpecAugment (Park et al. 2019), half the masks of LibriSpeech's policy LD, since an hour
        audio_time_mask_milliseconds=400.0,  # of training is short
        audio_bin_masks=1,
        audio_bin_mask_width=10,
        audio_speeds=(0.9, 1.0, 1.1),  # Ko et al. 2015
        audio_silence_seconds=0.3,  # people press a button, then speak; the corpora begin with the first word
        ctc_weight=0.8,  # the decoder soon knows the sentences by heart, and sound is learnt by CTC; docs/speech.md
        sorted_epochs=1,  # short utterances first: what belongs together is found sooner there (Amodei et al. 2016)
        label_smoothing=0.1,
        batch_tokens=1250,  # half a minute of speech a step: more and smaller steps learn more in the same time
        max_audio_seconds=16.0,
        learning_rate=4.4e-3,
        learning_rate_warmup_steps=200,
        train_steps=20_000,  # an hour on two cores
    )


def _without_experts(parent):
    return replace(parent, use_experts=False)  # paper table 4, "no mixture of experts"


def _without_attention(parent):
    return replace(parent, use_attention=False)  # paper table 4, "no attention"


def _without_convolutions(parent):
    return replace(parent, use_convolutions=False)  # the third kind of block, which the paper keeps in all its models


@register_hparams
def multimodel_base_no_moe():
    """Ablation of multimodel_base: no mixture of experts anywhere."""
    return _without_experts(multimodel_base())


@register_hparams
def multimodel_base_no_attention():
    """Ablation of multimodel_base: no attention; the source reaches the target by position and by its mean."""
    return _without_attention(multimodel_base())


@register_hparams
def multimodel_base_no_convolutions():
    """Ablation of multimodel_base: no convolution blocks in the body; positions meet in attention alone."""
    return _without_convolutions(multimodel_base())


@register_hparams
def multimodel_single_no_moe():
    """Ablation of multimodel_single: no mixture of experts anywhere."""
    return _without_experts(multimodel_single())


@register_hparams
def multimodel_single_no_attention():
    """Ablation of multimodel_single: no attention; the source reaches the target by position and by its mean."""
    return _without_attention(multimodel_single())


@register_hparams
def multimodel_single_no_convolutions():
    """Ablation of multimodel_single: no convolution blocks in the body; positions meet in attention alone."""
    return _without_convolutions(multimodel_single())


@register_hparams
def multimodel_tiny_no_moe():
    """Ablation of multimodel_tiny: no mixture of experts anywhere."""
    return _without_experts(multimodel_tiny())


@register_hparams
def multimodel_tiny_no_attention():
    """Ablation of multimodel_tiny: no attention; the source reaches the target by position and by its mean."""
    return _without_attention(multimodel_tiny())


@register_hparams
def multimodel_tiny_no_convolutions():
    """Ablation of multimodel_tiny: no convolution blocks in the body; positions meet in attention alone."""
    return _without_convolutions(multimodel_tiny())
