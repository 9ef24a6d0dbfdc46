"""A run on speech with all that draws at random goes on, after a stop, to the bits of one that did not stop."""

from dataclasses import replace

import pytest
from small_world import HPARAMS, log_lines, make_data, make_trainer, weights

pytestmark = pytest.mark.usefixtures("kept_programs")

ALL_ON = replace(
    HPARAMS,
    audio_frame_milliseconds=32.0,
    audio_hop_milliseconds=16.0,  # of longer ones there are fewer than ids, and CTC has nothing to learn
    audio_time_masks=2,
    audio_bin_masks=1,
    audio_bin_mask_width=3,
    audio_dither=2.0,
    audio_speeds=(0.9, 1.0, 1.1),
    audio_silence_seconds=0.2,
    audio_normalize="recording",
    audio_preemphasis=0.97,
    ctc_weight=0.5,
    sorted_epochs=1,
    train_steps=8,
)


@pytest.mark.slow
def test_a_run_that_is_continued_has_the_bits_of_one_that_was_not_interrupted(tmp_path):
    data = make_data(tmp_path / "data")
    problems = ("tiny_speech", "tiny_ende")
    assert make_trainer(data, tmp_path / "whole", ALL_ON, problems).run() == 0
    interrupted = tmp_path / "interrupted"
    shorter = make_trainer(data, interrupted, ALL_ON, problems)
    update, updates = shorter._update, []

    def stopping(pending):
        update(pending)
        updates.append(1)
        if len(updates) == 5:
            shorter._finish(pending)
            shorter._save()
            raise KeyboardInterrupt

    shorter._update = stopping
    with pytest.raises(KeyboardInterrupt):
        shorter.run()
    assert make_trainer(data, interrupted, ALL_ON, problems).run() == 0
    expected, found = (weights(folder, 8)[0] for folder in (tmp_path / "whole", interrupted))
    assert found == expected
    assert {name.split("/")[-2] for name in expected} >= {"time_mask_seed", "bin_mask_seed", "dither_seed"}
    speech = [line for line in log_lines(interrupted) if line.get("problem") == "tiny_speech"]
    assert speech and all(line["ctc_loss"] > 0 and line["ctc_too_long"] < 0.5 for line in speech)
    assert not [line for line in log_lines(interrupted) if line.get("problem") == "tiny_ende" and "ctc_loss" in line]
