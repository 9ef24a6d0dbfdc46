"""Small WMT corpora in the forms in which they are distributed: text side by side, .sgm test sets, TFDS's own files."""

import gzip
import html

NOUNS = {"dog": ("Hund", "chien"), "house": ("Haus", "maison"), "tree": ("Baum", "arbre"), "sea": ("Meer", "mer")}
COLOURS = {"red": ("rot", "rouge"), "blue": ("blau", "bleu"), "old": ("alt", "vieux"), "new": ("neu", "neuf")}


def pairs(count, language="de", start=0):
    """`count` sentence pairs, English and `language`, that no other range of numbers has."""
    which = 0 if language == "de" else 1
    made = []
    for number in range(start, start + count):
        noun = list(NOUNS)[number % 4]
        colour = list(COLOURS)[number // 4 % 4]
        other = f"{NOUNS[noun][which]} Nr. {number} ist {COLOURS[colour][which]} & schön"
        made.append((f"the {noun} no. {number} is {colour} & nice", other))
    return made


def write_text(path, lines):
    """A line each; compressed where the name ends in .gz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(content, mtime=0) if path.name.endswith(".gz") else content)


def write_side_by_side(folder, stem, rows, language="de", suffix=""):
    for side, column in (("en", 0), (language, 1)):
        write_text(folder / f"{stem}.{side}{suffix}", [row[column] for row in rows])


def sgm(kind, language, rows, documents=2, set_id="newstest2014"):
    """The text of a WMT set: `kind` is "src" or "ref"; segments in paragraphs of documents, entities where needed."""
    target = f' trglang="{language}"' if kind == "ref" else ""
    lines = [f'<{kind}set setid="{set_id}" srclang="any"{target}>']
    size = -(-len(rows) // documents)
    for number in range(documents):
        system = ' sysid="ref"' if kind == "ref" else ""
        lines += [f'<doc{system} docid="paper/{number}.html" genre="news" origlang="en">', "<p>"]
        for i, text in enumerate(rows[number * size : (number + 1) * size], 1):
            lines.append(f'<seg id="{i}">{html.escape(text, quote=False)}</seg>')
        lines += ["</p>", "</doc>"]
    return "\n".join([*lines, f"</{kind}set>"]) + "\n"


def write_sgm(folder, stem, rows, source="en", target="de"):
    """`<stem>-src.<source>.sgm` and `<stem>-ref.<target>.sgm`; rows are (source, target)."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind, language, column in (("src", source, 0), ("ref", target, 1)):
        content = sgm(kind, language, [row[column] for row in rows], set_id=stem)
        (folder / f"{stem}-{kind}.{language}.sgm").write_text(content, encoding="utf-8")


def write_wmt(folder, language="de", train=60):
    """A whole local corpus: two training texts, one compressed, both test sets; returns {split: pairs}."""
    rows = {"train": pairs(train, language), "dev": pairs(8, language, 1000), "test": pairs(9, language, 2000)}
    half = train // 2
    write_side_by_side(folder / "training", f"europarl-v7.{language}-en", rows["train"][:half], language)
    write_side_by_side(folder, "train", rows["train"][half:], language, ".gz")
    write_side_by_side(folder / "dev", "newstest2013", rows["dev"], language)
    write_sgm(folder / "test", f"newstest2014-{language}en", rows["test"], "en", language)
    return rows


def write_tfds(folder, name, features, examples):
    """A data set as TFDS leaves it on disk: two shards a split where there are two examples, and its two JSON files.

    Args:
      folder: `<name>/<config>/<version>` under the folder that `tfds.builder` gets as `data_dir`.
      features: a `tfds.features.FeaturesDict` or the like.
      examples: {split: [example]}.
    """
    import tensorflow as tf
    import tensorflow_datasets as tfds

    folder.mkdir(parents=True)
    template = tfds.core.ShardedFileTemplate(
        data_dir=folder,
        template="{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
        dataset_name=name,
        filetype_suffix="tfrecord",
    )
    infos = []
    for split, rows in examples.items():
        shards = [rows[: len(rows) // 2], rows[len(rows) // 2 :]] if len(rows) > 1 else [rows]
        size = 0
        for number, shard in enumerate(shards):
            path = folder / f"{name}-{split}.tfrecord-{number:05d}-of-{len(shards):05d}"
            with tf.io.TFRecordWriter(str(path)) as writer:
                for example in shard:
                    content = features.serialize_example(example)
                    size += len(content)
                    writer.write(content)
        lengths = [len(shard) for shard in shards]
        infos.append(
            tfds.core.SplitInfo(
                name=split, shard_lengths=lengths, num_bytes=size, filename_template=template.replace(split=split)
            )
        )
    tfds.folder_dataset.write_metadata(data_dir=folder, features=features, split_infos=infos, check_data=False)


def write_tfds_wmt(download_dir, name="wmt14_translate", language="de", train=60):
    """A prepared `<name>/<language>-en`; returns {split: pairs} as a problem should give them."""
    import tensorflow_datasets as tfds

    rows = {"train": pairs(train, language), "validation": pairs(8, language, 1000), "test": pairs(9, language, 2000)}
    examples = {
        split: [
            {"en": html.escape(en) if split == "test" else en, language: html.escape(xx) if split == "test" else xx}
            for en, xx in pairs_of_split
        ]
        for split, pairs_of_split in rows.items()
    }
    features = tfds.features.Translation(languages=(language, "en"))
    write_tfds(download_dir / name / f"{language}-en" / "1.0.0", name, features, examples)
    return {"train": rows["train"], "dev": rows["validation"], "test": rows["test"]}
