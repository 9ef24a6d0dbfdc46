"""Pictures a second from JPEGs of 500×375 to examples of 64×64, by 1 and 2 workers, beside the decoder's own speed.

    python benchmarks/pictures.py [pictures]

The JPEGs lie in a tar in ImageNet's form, and `imagenet` reads, decodes, shrinks, crops, checks and serialises them;
one worker works in the process that lists them. The decoder's speed is that of Pillow (libjpeg) alone in one process,
on the same bytes in memory: at the least size that covers 64×64, which is what the reader asks of it, and whole. What
is called …_cpu is pictures a second of processor time, which other programs on the machine disturb less.
"""

import io
import pathlib
import sys
import tarfile
import tempfile
import time

import numpy as np
from common import figure, report

DIFFERENT = 48  # JPEGs; the tar repeats them under other names
SYNSET = "n01440764"


def main(pictures=1536):
    from t2t_multimodel import registry, startup
    from t2t_multimodel.data_gen.readers import corpora
    from t2t_multimodel.data_gen.workers import Workers

    startup.import_tensorflow()
    jpegs = [photograph(seed) for seed in range(DIFFERENT)]
    values = {"pictures": pictures, "kilobytes": sum(map(len, jpegs)) / DIFFERENT / 1000}
    for name, size in (("decoder", (86, 64)), ("decoder_whole", None)):
        values |= rates(name, lambda size=size: len([decode(jpeg, size) for jpeg in jpegs]), 5)
    with tempfile.TemporaryDirectory() as folder:
        write_corpus(pathlib.Path(folder), jpegs, pictures)
        corpora.set_folders(folder, manual_dir=folder)
        problem = registry.problem("imagenet")
        for count in (1, 2):
            with Workers([problem], count) as workers:
                run = lambda workers=workers: sum(
                    len(chunk.records) for chunk in workers.chunks(problem, "train", None, False)
                )
                run()  # starts the processes
                values |= rates(f"workers_{count}", run, 3)
    del values["workers_2_cpu"]  # the processor time of this process, not of theirs
    ratios = {f"workers_{count}_to_decoder": values[f"workers_{count}"] / values["decoder"] for count in (1, 2)}
    ratios["workers_1_to_decoder_cpu"] = values["workers_1_cpu"] / values["decoder_cpu"]
    figures = [
        figure(
            f"t2t-datagen of imagenet, {count} worker{'s' * (count > 1)}",
            values[f"workers_{count}"],
            "pictures/s",
            limit=count * values["decoder"],
            limit_is="the decoder alone, on as many processors",
        )
        for count in (1, 2)
    ]
    report("pictures", figures, **values, **ratios)


def rates(name, function, runs):
    """The best of `runs` as pictures a second by the clock and by processor time; `function` returns their number."""
    by_clock = by_processor = 0.0
    for _ in range(runs):
        clock, processor = time.perf_counter(), time.process_time()
        pictures = function()
        by_clock = max(by_clock, pictures / (time.perf_counter() - clock))
        by_processor = max(by_processor, pictures / (time.process_time() - processor))
    return {name: by_clock, f"{name}_cpu": by_processor}


def photograph(seed, height=375, width=500):
    """A JPEG with the spectrum of a photograph, and with noise: about 100 kB at quality 92, as ImageNet has."""
    from PIL import Image

    random = np.random.default_rng(seed)
    pixels = random.normal(0, 0.08, (height, width, 3))
    for cells in (4, 8, 16, 32, 64, 128):  # detail of every size, the finer the fainter
        grid = random.random((cells * height // width, cells, 3))
        layer = Image.fromarray((255 * grid).astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
        pixels += np.asarray(layer, float) / 255 / cells**0.7
    pixels = (pixels - pixels.min()) / (pixels.max() - pixels.min())
    content = io.BytesIO()
    Image.fromarray((255 * pixels).astype(np.uint8)).save(content, "JPEG", quality=92)
    return content.getvalue()


def decode(jpeg, size=None):
    """What the decoder does and nothing else; with `size`, (width, height), at the least size that covers it."""
    from PIL import Image

    picture = Image.open(io.BytesIO(jpeg))
    if size:
        picture.draft("RGB", size)
    picture.load()


def write_corpus(folder, jpegs, pictures):
    """The two tars of ImageNet, one class in that of training."""
    (folder / "imagenet").mkdir()
    inner = tar_of((f"{SYNSET}_{i}.JPEG", jpegs[i % len(jpegs)]) for i in range(pictures))
    (folder / "imagenet" / "ILSVRC2012_img_train.tar").write_bytes(tar_of([(f"{SYNSET}.tar", inner)]))
    (folder / "imagenet" / "ILSVRC2012_img_val.tar").write_bytes(tar_of([("ILSVRC2012_val_00000001.JPEG", jpegs[0])]))


def tar_of(files):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return content.getvalue()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
