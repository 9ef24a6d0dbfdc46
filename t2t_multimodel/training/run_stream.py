"""The batches of a run: a stream for each problem, mixed as the hparams say."""

from t2t_multimodel.input.batching import WHOLE, BatchStream
from t2t_multimodel.input.mixture_stream import MixtureStream
from t2t_multimodel.mixture import MixtureSchedule


def open_stream(stores, settings, bucket, part=WHOLE):
    """The `MixtureStream` of the training splits; prints what is too long to be trained on.

    Args:
      stores: {problem: `ExampleStore`}. settings: a `RunSettings`.
      bucket, part: as of `BatchStream`.
    """
    hparams, seed = settings.resolved.hparams, settings.seed
    streams = {
        name: BatchStream(store, "train", hparams, seed, bucket=bucket, part=part) for name, store in stores.items()
    }
    for name, stream in streams.items():
        if stream.left_out:
            print(
                f"{name}: {stream.left_out} of {stream.left_out + len(stream)} training examples are longer than "
                f"max_input_length, max_target_length or max_audio_seconds and left out"
            )
    sizes = {name: len(stream) for name, stream in streams.items()}
    return MixtureStream(streams, MixtureSchedule(settings.mixture, hparams, sizes), seed)
