"""COCO captions, 2014: image captioning. Read directly from the official zips."""

import functools
import pathlib

from t2t_multimodel.data_gen.readers import json_corpora, tfds_data
from t2t_multimodel.data_gen.readers.corpora import Corpus
from t2t_multimodel.data_gen.readers.members import ZipMember, read_content, zip_members
from t2t_multimodel.data_gen.readers.parts import part_of
from t2t_multimodel.data_gen.readers.pictures import read_picture
from t2t_multimodel.errors import UserError
from t2t_multimodel.modalities import Image, Text
from t2t_multimodel.problem import Problem
from t2t_multimodel.registry import register_problem

YEARS = ("train2014", "val2014")
ANNOTATIONS, KARPATHY = "annotations_trainval2014.zip", "dataset_coco.json"
CORPUS = Corpus(
    "coco_caption",
    "COCO captions of 2014, pictures and annotations",
    "from cocodataset.org, free and without registration (captions CC BY 4.0, pictures under Flickr's licences)",
    f"train2014.zip, val2014.zip and {ANNOTATIONS}; or unpacked, train2014/, val2014/ and annotations/; if you have "
    f"it, {KARPATHY} too",
)
_PARTS = 8  # of val2014 without Karpathy and Li's list: one is dev, one test, six are training
_TFDS_SPLITS = {"train": ("train", "restval"), "dev": ("val",), "test": ("test",)}
_KARPATHY_SPLITS = {"train": "train", "restval": "train", "val": "dev", "test": "test"}


@register_problem
class CocoCaption(Problem):
    """COCO 2014 captions: a photograph, 64×64 pixels, into an English sentence.

    Source: Lin et al. 2014, Chen et al. 2015; free from cocodataset.org (captions CC BY 4.0, the pictures' licences
    are their owners' on Flickr), so this corpus needs no stand-in.
    Size: zips of 13.5 GB (82,783 pictures), 6.6 GB (40,504) and 0.25 GB (five captions a picture, a few have six or
    seven). A training picture is one example for each caption, so that a model sees them all, at the price of storing
    its pixels again: 12,690 bytes an example, 7.2 GB for 567,000; with `every_caption = False` 1.4 GB. In dev and test
    it is one example, and all its captions are right.
    Splits: Karpathy and Li's (113,287, 5,000 and 5,000 pictures), which the literature reports, if their
    dataset_coco.json lies in the folder, and with TFDS. Else val2014 is cut by SHA-256 of the file name into eight
    parts, of about 5,000: the first is dev, the second test, and the others are training pictures like train2014.
    Files: `coco_caption/` in the manual folder with the official zips, which stay packed, or what is in them; or, in
    the download folder, the `coco_captions` that `tfds build` prepared.
    Command: t2t-datagen --problem=coco_caption --data_dir=data --manual_dir=DIR
    Metric: CIDEr (0 to 10; papers often print it times 100) and BLEU. Not measured yet for this model; models trained
    on COCO alone reach 0.9 to 1.4 with pictures of 224×224 and more.
    """

    image = Image(64, 64, 3)  # stretched, since a caption can be about things at the edges
    every_caption = True  # False: training uses only the first caption of a picture
    metrics = ("cider", "bleu")

    @functools.cached_property
    def inputs(self):
        return self.image

    @functools.cached_property
    def targets(self):
        return Text("English")

    def samples(self, split):
        for place, name, captions, fault in self._pictures(split):
            if fault:
                yield {"key": name, "bad": fault}
                continue
            texts = [" ".join(text.split()) for _, text in captions]  # some end in a line feed, some have double spaces
            used = zip(captions, texts) if split == "train" and self.every_caption else [(captions[0], texts[0])]
            for (number, _), text in used:
                yield {"inputs": place, "targets": text, "references": texts, "key": f"{name}#{number}"}

    def prepare(self, sample):
        return {**sample, "inputs": _pixels(sample["inputs"], sample["key"].partition("#")[0], self.image)}

    def source_files(self):
        form, found = self._source
        if form == "tfds":
            return tfds_data.files_of(found, sum(_TFDS_SPLITS.values(), ()))
        *pictures, annotations, karpathy = found  # a folder represents the pictures in it
        lists = [annotations / f"captions_{year}.json" for year in YEARS] if annotations.is_dir() else [annotations]
        return [str(path) for path in [*pictures, *lists, *([karpathy] if karpathy.exists() else [])]]

    @functools.cached_property
    def _source(self):
        """("files", paths) or ("tfds", builder)."""
        folder = CORPUS.folder
        if any(_packed_or_not(folder, name) for name in YEARS):
            needed = [*YEARS, "annotations"]
            for name in needed:
                if not _packed_or_not(folder, name):
                    raise CORPUS.missing(folder / (ANNOTATIONS if name == "annotations" else f"{name}.zip"))
            paths = [_packed_or_not(folder, name) for name in needed]
            return "files", [*paths, folder / KARPATHY]
        return "tfds", tfds_data.prepared("coco_captions", CORPUS.missing(), download=False)

    def __getstate__(self):  # for worker processes: they need no source, and a builder can't be pickled
        return {name: value for name, value in vars(self).items() if name not in ("_source", "_split_of")}

    def _pictures(self, split):
        """Yields (path, archive member or bytes; file name; its (number, caption) pairs in order; fault or "")."""
        form, found = self._source
        if form == "files":
            for year, pictures in zip(YEARS, found):
                yield from self._of_year(split, year, pictures, found[len(YEARS)])
            return
        for part in _TFDS_SPLITS[split]:
            columns = ("image", "image/filename", "captions/id", "captions/text")
            for _, (content, name, numbers, texts) in tfds_data.read_values(found, part, columns):
                captions = sorted((number, text.decode()) for number, text in zip(numbers.tolist(), texts))
                yield content, name.decode(), captions, ""

    def _of_year(self, split, year, pictures, annotations):
        if split != "train" and year == "train2014" and not self._split_of:
            return
        place_of = _places(pictures)
        for name, captions, fault in _captions(annotations, year):
            if (self._split(name, year) if name else "train") != split:
                continue
            if not fault and name not in place_of:
                fault = f"{pictures}: no {name}, which the captions of {year} are of; get it again"
            yield place_of.get(name), name or f"captions_{year}.json", captions, fault

    def _split(self, name, year):
        if self._split_of:
            return self._split_of.get(name)  # a picture that the list leaves out is in no split
        return "train" if year == "train2014" else {0: "dev", 1: "test"}.get(part_of(name, _PARTS), "train")

    @functools.cached_property
    def _split_of(self):
        """{file name: split} of Karpathy and Li's list; {} without the list."""
        path = CORPUS.folder / KARPATHY
        if not path.exists():
            return {}
        try:
            entries = json_corpora.parse(read_content(path), path)["images"]
            return {entry["filename"]: _KARPATHY_SPLITS[entry["split"]] for entry in entries}
        except ValueError as error:
            raise UserError(str(error)) from error
        except (KeyError, TypeError) as error:
            raise UserError(f"{path}: not Karpathy and Li's list of splits ({error!r} in it)") from error


@functools.lru_cache(maxsize=1)  # the captions of a picture are consecutive: it is decoded once, not five times
def _pixels(place, name, image):
    content = place if isinstance(place, bytes) else read_content(place)
    called = name if isinstance(place, bytes) else place
    return read_picture(called, *image.shape, fit=image.fit, content=content, max_pixels=image.max_pixels)


def _packed_or_not(folder, name):
    """The unpacked folder `name`, or its zip; None without both."""
    unpacked, packed = folder / name, folder / (ANNOTATIONS if name == "annotations" else f"{name}.zip")
    return unpacked if unpacked.is_dir() else packed if packed.exists() else None


def _places(pictures):
    """{file name: path or zip member} of a folder or zip of pictures."""
    if pictures.is_dir():
        return {path.name: str(path) for path in pictures.iterdir() if path.suffix == ".jpg"}
    return {pathlib.PurePosixPath(member.name).name: member for member in zip_members(pictures)}


def _captions(annotations, year):
    """Yields (file name, [(number, caption), …], "") of captions_<year>.json, both in order.

    Malformed entries come first, as (file name, or "" if unknown; []; the error with its position).
    """
    inside = f"captions_{year}.json"
    zipped = ZipMember(str(annotations), f"annotations/{inside}")
    where = annotations / inside if annotations.is_dir() else zipped
    try:
        content = json_corpora.parse(read_content(where), where)
    except ValueError as error:
        raise UserError(str(error)) from error
    lists = [content.get(name) if isinstance(content, dict) else None for name in ("images", "annotations")]
    if not all(isinstance(entries, list) for entries in lists):
        raise UserError(f"{where}: not captions in COCO's form: it must have the lists images and annotations")
    name_of, found, faults = {}, {}, []
    for place, picture in _entries(where, "images", lists[0]):
        if isinstance(picture.get("file_name"), str) and isinstance(picture.get("id"), int):
            name_of[picture["id"]] = picture["file_name"]
            found[picture["file_name"]] = []
        else:
            faults.append(("", f"{place}: a whole number as id and a file_name expected"))
    for place, entry in _entries(where, "annotations", lists[1]):
        name = name_of.get(entry.get("image_id")) if isinstance(entry.get("image_id"), int) else None
        if name is None:
            faults.append(("", f"{place}: image_id {entry.get('image_id')!r} is none of its images"))
        elif isinstance(entry.get("caption"), str) and isinstance(entry.get("id"), int):
            found[name].append((entry["id"], entry["caption"]))
        else:
            faults.append((name, f"{place}: a whole number as id and a caption expected, which is a string"))
    told = dict(faults)
    faults += [(name, f"{where}: {name} has no captions") for name in found if not found[name] and name not in told]
    for name, fault in faults:
        yield name, [], fault
    for name in sorted(found):
        if found[name]:
            yield name, sorted(found[name]), ""


def _entries(where, name, entries):
    """Yields (position, entry) of a list of `where`; an entry that is not a dict is replaced by an empty one."""
    for number, entry in enumerate(entries, 1):
        yield f"{where}: {name}, entry {number}", entry if isinstance(entry, dict) else {}
