"""Small tables, pictures, recordings and tars, for the tests of `Table` and of what reads tables."""

import io
import tarfile

import numpy as np
from own_files import make, prepared

from t2t_multimodel.modalities import Text
from t2t_multimodel.problems import Table

PAIRS = {"columns": {"inputs": "en", "targets": "de"}, "inputs": Text("English"), "targets": Text("German")}
ROWS = [("the dog", "der Hund"), ('say "no"', "sag\tnein"), ("a, b", "a\nb")]


def table(folder, **attributes):
    return make(Table, folder, **attributes)


def pairs(problem, split="train"):
    return [(sample["inputs"], sample["targets"]) for sample in prepared(problem, split)]


def png(seed=0, size=(8, 6)):
    from PIL import Image as Picture

    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), np.uint8)
    content = io.BytesIO()
    Picture.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def wav(seconds=1.0, rate=8000, seed=0):
    import soundfile

    content = io.BytesIO()
    soundfile.write(content, np.random.default_rng(seed).uniform(-0.5, 0.5, round(seconds * rate)), rate, format="WAV")
    return content.getvalue()


def quoted(rows, mark=","):
    cells = (['"' + cell.replace('"', '""') + '"' for cell in row] for row in [("en", "de"), *rows])
    return "".join(mark.join(row) + "\r\n" for row in cells)


def tar(path, members):
    with tarfile.open(path, "w") as file:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))


TMX = """<?xml version="1.0"?><!DOCTYPE tmx SYSTEM "tmx14.dtd">
<tmx version="1.4"><header srclang="en"/><body>
<tu><tuv xml:lang="en-US"><seg>Press <bpt i="1">&lt;b&gt;</bpt>OK<ept i="1">&lt;/b&gt;</ept>
 now.</seg></tuv><tuv xml:lang="DE"><seg>Jetzt OK &amp; los.</seg></tuv></tu>
<tu><tuv xml:lang="en"><seg>Yes</seg></tuv><tuv xml:lang="fr"><seg>Oui</seg></tuv></tu>
</body></tmx>"""
