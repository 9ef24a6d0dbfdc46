"""Rows a second that `Table` reads, by form of the table, and examples a second of text and of pictures with 2 workers.

    python benchmarks/table_generation.py [rows pictures]

The text is that of text_generation.py, 20 to 30 words a side, in each form; reading is all that the first process does
(rows, their columns, the raw samples), timed alone. `t2t-datagen` of JSON Lines and of Parquet is timed as
text_generation.py times it: making the examples alone. The pictures are those of pictures.py, JPEGs of 500 × 375 as in
ImageNet and of 256 × 256, about 100 and 35 kB, in WebDataset's shards and in Parquet, made 64 × 64.
"""

import io
import json
import pathlib
import sys
import tarfile
import tempfile
import time

from common import figure, report
from pictures import DIFFERENT, decode, photograph, rates
from text_generation import WORKERS, write_pairs

ROWS, PICTURES = 200_000, 12_000
SIZES = ((375, 500), (256, 256))  # of the pictures: height, width
ROWS_A_SECOND, PICTURES_A_SECOND = 50_000, 1500  # marks
_FORMS = {".csv": "CSV", ".tsv": "TSV", ".jsonl": "JSON Lines", ".jsonl.gz": "JSON Lines, .gz", ".parquet": "Parquet"}


def main(rows=ROWS, pictures=PICTURES):
    from t2t_multimodel import startup

    startup.import_tensorflow()
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        write_pairs(folder, rows)
        pairs = [line.rstrip("\n").split("\t") for line in open(folder / "train.tsv", encoding="utf-8")]
        for ending, name in _FORMS.items():
            place = folder / name.replace(" ", "_")
            place.mkdir()
            write_table(place / f"train{ending}", pairs)
            problem = text_problem(place)
            start = time.perf_counter()
            count = sum(1 for _ in problem.samples("train"))
            figures.append(figure(f"reading rows of {name}", count / (time.perf_counter() - start), "rows/s"))
        for name in ("JSON Lines", "Parquet"):
            rate = generation_rate(text_problem(folder / name.replace(" ", "_")), folder / f"data {name}")
            figures.append(
                figure(f"making examples of {name}, {WORKERS} workers", rate, "rows/s", at_least=ROWS_A_SECOND)
            )
        for height, width in SIZES:
            jpegs = [photograph(seed, height, width) for seed in range(DIFFERENT)]
            alone = rates("decoder", lambda jpegs=jpegs: len([decode(jpeg, (64, 64)) for jpeg in jpegs]), 5)["decoder"]
            for form in ("WebDataset", "Parquet of pictures"):
                place = folder / f"{form} {width}".replace(" ", "_")
                place.mkdir()
                write_pictures(place, form, jpegs, pictures)
                rate = generation_rate(picture_problem(place, form), folder / f"data {form} {width}")
                figures.append(
                    figure(
                        f"making examples of {form}, {width} × {height}, {WORKERS} workers",
                        rate,
                        "pictures/s",
                        at_least=PICTURES_A_SECOND,
                        limit=WORKERS * alone,
                        limit_is="the decoder of JPEG alone, on as many processors",
                    )
                )
    report("table_generation", figures, rows=rows, pictures=pictures, workers=WORKERS)


def text_problem(folder):
    from t2t_multimodel.modalities import Text
    from t2t_multimodel.problems import Table

    problem = Table()
    problem.name, problem.directory, problem.columns = "pairs", str(folder), {"inputs": "a", "targets": "b"}
    problem.inputs, problem.targets = Text(), Text()
    problem.dev_percent = 1.0
    return problem


def picture_problem(folder, form):
    from t2t_multimodel.modalities import Image, Label
    from t2t_multimodel.problems import Table

    problem = Table()
    image, label = ("jpg", "cls") if form == "WebDataset" else ("image", "label")
    problem.name, problem.directory, problem.columns = "pictures", str(folder), {"inputs": image, "targets": label}
    problem.inputs, problem.targets = Image(64, 64, 3), Label(("0", "1"))
    problem.dev_percent = 20.0
    return problem


def generation_rate(problem, data_dir):
    """Examples a second, without the time that the vocabulary takes."""
    from t2t_multimodel.data_gen.generate import generate

    (result,) = generate([problem], data_dir, workers=WORKERS, log=lambda line: None, progress=False)
    return sum(split["examples"] for split in result.manifest["splits"].values()) / result.seconds


def write_table(path, pairs):
    import csv
    import gzip

    if path.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        first, second = zip(*pairs)
        pyarrow.parquet.write_table(pyarrow.table({"a": first, "b": second}), path)
        return
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", encoding="utf-8", newline="") as file:
        if ".jsonl" in path.name:
            file.writelines(json.dumps({"a": a, "b": b, "id": i}) + "\n" for i, (a, b) in enumerate(pairs))
        else:
            writer = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writerows([("a", "b"), *pairs])


def write_pictures(folder, form, jpegs, count):
    if form == "WebDataset":
        with tarfile.open(folder / "train-000000.tar", "w") as archive:
            for i in range(count):
                for ending, content in (("jpg", with_comment(jpegs[i % len(jpegs)], i)), ("cls", str(i % 2).encode())):
                    member = tarfile.TarInfo(f"{i:06}.{ending}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
        return
    import pyarrow
    import pyarrow.parquet

    images = [{"bytes": with_comment(jpegs[i % len(jpegs)], i), "path": f"{i}.jpg"} for i in range(count)]
    labels = [str(i % 2) for i in range(count)]
    pyarrow.parquet.write_table(
        pyarrow.table({"image": images, "label": labels}), folder / "train.parquet", row_group_size=500
    )


def with_comment(jpeg, number):
    """The same picture as another file: real ones are not equal to each other."""
    comment = f"picture {number}".encode() + b" " * (number % 1000)
    return jpeg[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + jpeg[2:]


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
