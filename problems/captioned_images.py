"""Pictures with captions in a JSON file: image captioning."""

import functools
import lzma
import os
import zlib

from t2t_multimodel.data_gen.readers import json_corpora
from t2t_multimodel.data_gen.readers.compressed import decompressed
from t2t_multimodel.data_gen.readers.lines import bad_sample
from t2t_multimodel.data_gen.readers.pictures import SUFFIXES
from t2t_multimodel.errors import UserError
from t2t_multimodel.json_files import check
from t2t_multimodel.modalities import Image, Text
from t2t_multimodel.problems.file_problem import FileProblem, compressed_or_not, picture_sample
from t2t_multimodel.problems.splits_of_train import shared_out
from t2t_multimodel.regular_files import open_regular

_FORMS = (
    '[{"file": "0007.png", "captions": ["…"]}, …], or {"images": [{"id", "file_name"}], "annotations": '
    '[{"image_id", "caption"}]}'
)


class CaptionedImages(FileProblem):
    """Picture to text from `<directory>/{train,dev,test}/captions.json` and the pictures beside it.

    The JSON is a list of `{"file": "0007.png", "captions": ["a dog on a sofa", "a sleeping dog"]}`, or has the form of
    COCO: `{"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]}`. Files are relative to its
    folder.

        @register_problem
        class ShopWindows(CaptionedImages):
            \"\"\"What a shop window shows. Own photographs, 5,000 files, 300 MB. Metric: BLEU, expect 25.\"\"\"
            directory = "windows"
            image = Image(96, 96, 3)

    In train each caption is one example; in dev and test each picture is one example, with all captions as
    references.
    """

    image = Image(64, 64, 3)  # pictures are resized to this; 1 channel = grey
    language = "English"  # of the captions, for reports
    max_captions_bytes = 1 << 28  # of a captions.json, which is held in memory
    every_caption = True  # False: training uses only the first caption of a picture
    metrics = ("bleu", "exact_match")

    _form = 'train/captions.json (dev, test alike), a list of {"file": …, "captions": […]}, and the pictures beside it'

    @functools.cached_property
    def inputs(self):
        return self.image

    @functools.cached_property
    def targets(self):
        return Text(self.language)

    @shared_out
    def read_samples(self, split):
        folder, listed = self.split_path(split), set()
        for file, captions, fault in self._entries(self._list(split)):
            if fault:
                yield bad_sample(fault)
                continue
            listed.add(file)
            sample = {"inputs": str(folder / file), "references": captions}
            for i, caption in enumerate(captions):
                yield {**sample, "targets": caption, "key": f"{split}/{file}#{i}"}
                if split != "train" or not self.every_caption:
                    break
        self.say_unlisted(split, listed, "captions.json", SUFFIXES)

    def prepare(self, sample):
        try:
            self.check_inside(sample["inputs"])
            return picture_sample(sample, self.inputs)
        except ValueError as error:
            split, _, file = sample["key"].partition("#")[0].partition("/")
            raise ValueError(f"{error} (captions.json of {split} names {file})") from error

    def source_files(self):
        lists = list(dict.fromkeys(self._list(split) for split in self.splits))
        entries = ((path, *entry) for path in lists for entry in self._entries(path))
        pictures = [path.parent / file for path, file, _, fault in entries if not fault]
        # A missing file is a bad record, reported when it is read.
        return [str(path) for path in [*lists, *pictures] if path in lists or os.path.exists(path)]

    def _list(self, split):
        return compressed_or_not(self.split_path(split) / "captions.json")

    def _entries(self, path):
        return _entries(path, self.max_captions_bytes, self.max_line_length)


def _entries(path, most_bytes, max_line_length):
    """Yields the `(file, captions, fault)` of a captions.json; fault is "" or the error in the entry.

    Raises:
      UserError: the file is not a valid list.
    """
    try:
        with open_regular(path) as file:
            content = _content(decompressed(file, path), most_bytes)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; expected: {CaptionedImages._form}") from None
    except (EOFError, lzma.LZMAError, zlib.error) as error:
        raise UserError(f"{path}: cut short, or a damaged compressed file ({error}); get it again") from None
    except OSError as error:
        raise UserError(f"{path}: can't be read ({error.strerror or error})") from None
    if len(content) > most_bytes:
        raise UserError(f"{path}: more than {most_bytes:,} bytes, the most that max_captions_bytes allows")
    entries = json_corpora.parse(content, path, f"{_FORMS}; JSON Lines are read by Table")
    if isinstance(entries, dict) and {"images", "annotations"} <= entries.keys():
        entries = _of_coco(path, entries)
    if not isinstance(entries, list):
        raise UserError(f"{path}: a list of entries expected, got {type(entries).__name__}; expected: {_FORMS}")
    for number, entry in enumerate(entries, 1):
        wrong = _what_is_wrong(entry, max_line_length)
        if wrong:
            yield "", [], f"{path}:entry {number}: {wrong}"
        else:
            yield entry["file"], entry["captions"], ""


def _content(file, most_bytes):
    """The content of a file, or its first `most_bytes` and more."""
    blocks, size = [], 0
    while size <= most_bytes and (block := file.read(1 << 20)):
        blocks.append(block)
        size += len(block)
    return b"".join(blocks)


def _of_coco(path, content):
    """The entries of a file in the form of COCO, in the order of its images."""
    form = {"images": [{"id": (int, str), "file_name": str}], "annotations": [{"image_id": (int, str), "caption": str}]}
    try:
        check(content, form)
    except ValueError as error:
        raise UserError(f"{path}: not in the form of COCO: {error}; expected: {_FORMS}") from None
    captions = {image["id"]: [] for image in content["images"]}
    for annotation in content["annotations"]:
        if annotation["image_id"] not in captions:
            raise UserError(f"{path}: a caption is of the image {annotation['image_id']!r}, which is not in images")
        captions[annotation["image_id"]].append(annotation["caption"].strip())
    return [{"file": i["file_name"], "captions": captions[i["id"]]} for i in content["images"] if captions[i["id"]]]


def _what_is_wrong(entry, max_line_length):
    if not isinstance(entry, dict) or not isinstance(entry.get("file"), str) or "captions" not in entry:
        return 'not of the form {"file": "0007.png", "captions": ["…"]}'
    if not entry["file"] or "\0" in entry["file"] or entry["file"] != entry["file"].encode("utf-8", "replace").decode():
        return f"{entry['file']!r} is no name of a file"
    captions = entry["captions"]
    if not isinstance(captions, list) or not captions:
        return f"{entry['file']}: captions must be a list of at least one string"
    for caption in captions:
        if isinstance(caption, str) and len(caption) > max_line_length:
            most = f"{max_line_length:,} characters that max_line_length allows"
            return f"{entry['file']}: a caption of more than the {most}"
        if not isinstance(caption, str) or not caption.strip():
            return f"{entry['file']}: a caption is {caption!r}, a string with words expected"
    return ""
