"""WSJ speech as its discs have it: index files, SPHERE recordings, marked transcripts; what is missing is named."""

import json
import sys

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from own_files import prepared
from sphere_files import sphere_bytes

from t2t_multimodel import registry
from t2t_multimodel.cli import datagen
from t2t_multimodel.data_gen.readers import corpora
from t2t_multimodel.data_gen.readers.corpora import MissingCorpus
from t2t_multimodel.data_gen.readers.recordings import read_recording
from t2t_multimodel.data_gen.readers.wsj_discs import normalised
from t2t_multimodel.errors import UserError
from t2t_multimodel.input.store import ExampleStore
from t2t_multimodel.vocabulary import Vocabulary

SHORTEN = "pcm,embedded-shorten-v1.09"


def sound(seed, samples=1600):
    return np.random.default_rng(seed).integers(-3000, 3000, samples).astype(np.int16)


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode("latin-1"))
    return path


@pytest.fixture
def discs(tmp_path, monkeypatch):
    """The manual folder's `wsj_speech/`: some of the discs' files, each where it is on the real ones."""
    monkeypatch.setattr(corpora, "_folders", {"manual": tmp_path / "manual", "download": tmp_path / "downloads"})
    root = tmp_path / "manual" / "wsj_speech"
    write(
        root / "11-13.1/wsj0/doc/indices/train/tr_s_wv1.ndx",
        ";; File: tr_s_wv1.ndx, updated 04/26/94\n;;\n;; Index for WSJ0 SI-short Sennheiser training data\n"
        "11_1_1:wsj0/si_tr_s/01i/01ic0201.wv1\n11_1_1:wsj0/si_tr_s/01i/01ic0202.wv1\n"
        "11_2_1:wsj0/si_tr_s/401/401c0201.wv1\n",
    )
    write(root / "13-34.1/wsj1/doc/indices/si_tr_s.ndx", ";; SI-200\r\n13_1_1: wsj1/si_tr_s/46i/46ic0301.wv1\r\n")
    write(root / "13-34.1/wsj1/doc/indices/h1_p0.ndx", "13_16_1:WSJ1/SI_DT_20/4K0/4K0C0301.WV1\n")
    write(root / "13-32.1/wsj1/doc/indices/wsj1/eval/h1_p0.ndx", "13_32_1:wsj1/si_et_h1/4oa/4oac0201.wv1\n")
    write(root / "11-13.1/wsj0/doc/indices/test/nvp/si_et_20.ndx", "11_14_1:wsj0/si_et_20/440/440c0401\n")
    write(
        root / "11-4.1/wsj0/transcrp/dots/11-1.1/wsj0/si_tr_s/01i/01ic0200.dot",
        "The [lip_smack] sale of <the> *hotels* is . part ,COMMA ~ (01ic0201)\n"
        "[<door_slam] She's !sure \\%PERCENT --DASH ( 01ic0202 )\n",
    )
    write(root / "13-34.1/wsj1/trans/wsj1/si_tr_s/46i/46ic0300.lsn", "ONLY AN LSN FILE (46IC0301)\n\x1a")
    # Disc 13-16.1 was pressed with upper-case names.
    write(root / "13-16.1/WSJ1/SI_DT_20/4K0/4K0C0300.DOT", "dev speech ( 4k0c0301 )\n")
    write(root / "13-16.1/WSJ1/SI_DT_20/4K0/4K0C0301.WV1", sphere_bytes(sound(4)))
    write(root / "11_14_1/wsj0/transcrp/dots/si_et_20/440/440c0400.dot", "Test speech (440c0401)\n")
    write(root / "11_14_1/wsj0/si_et_20/440/440c0401.wv1", sphere_bytes(sound(5), coding=SHORTEN))
    write(root / "11-1.1/wsj0/si_tr_s/01i/01ic0201.wv1", sphere_bytes(sound(1), byte_format="10"))
    write(root / "11-1.1/wsj0/si_tr_s/01i/01ic0202.wv1", sphere_bytes(sound(2), byte_format="01"))
    write(root / "11-1.1/wsj0/si_tr_s/01i/01ic0201.wv2", b"the second microphone's, not asked for")
    write(root / "13-1.1/wsj1/si_tr_s/46i/46ic0301.wv1", sphere_bytes(sound(3)))
    return root


def generate(run_command, discs, *more):
    data_dir = discs.parents[1] / "data"
    argv = ("--problem=wsj_speech", f"--data_dir={data_dir}", f"--manual_dir={discs.parent}", "--workers=1", *more)
    status, out, err = run_command(datagen.main, *argv)
    return data_dir, status, out + err


def stored(data_dir, split):
    """{key: (sound, text)} of a split."""
    store = ExampleStore(data_dir, "wsj_speech")
    vocabulary = Vocabulary.load(store.vocabulary_folder)
    examples = store.split(split).examples(range(len(store.split(split))))
    return {e["key"]: (e["inputs"], vocabulary.decode(e["targets"].tolist())) for e in examples}


def test_the_discs_become_si284_dev93_and_eval92(discs, run_command):
    data_dir, status, said = generate(run_command, discs)
    assert status == 0, said
    train, dev, test = (stored(data_dir, split) for split in ("train", "dev", "test"))
    assert {key: text for key, (_, text) in (train | dev | test).items()} == {
        "01ic0201": "the sale of the hotels is part ,comma",
        "01ic0202": "she's sure percent -dash",
        "46ic0301": "only an lsn file",
        "4k0c0301": "dev speech",
        "440c0401": "test speech",
    }
    assert (set(train), set(dev)) == ({"01ic0201", "01ic0202", "46ic0301"}, {"4k0c0301"})
    for number, key in enumerate(("01ic0201", "01ic0202", "46ic0301", "4k0c0301", "440c0401"), 1):
        heard = (train | dev | test)[key][0]
        pcm = heard if heard.dtype == np.int16 else np.rint(heard * 32768)
        assert (pcm == sound(number)).all(), key
    manifest = json.loads((data_dir / "wsj_speech" / "manifest.json").read_text())
    assert (manifest["metrics"], manifest["evaluation_split"]) == (["wer", "cer"], "test")
    assert not any(name.endswith(".wv2") for name in manifest["fingerprint"]["source_files"])


def test_discs_joined_in_one_folder_are_read_too(discs):
    for disc in sorted(discs.iterdir()):
        for path in sorted(disc.rglob("*")):
            if path.is_file():
                target = write(discs / "joined" / path.relative_to(disc), path.read_bytes())
                assert target.exists() and path.unlink() is None
    problem = registry.problem("wsj_speech")
    assert [len(prepared(problem, split)) for split in problem.splits] == [3, 1, 1]


def test_what_is_missing_or_broken_is_named_and_listed(discs, run_command):
    gone = discs / "11-1.1/wsj0/si_tr_s/01i/01ic0201.wv1"
    gone.unlink()
    dots = discs / "11-4.1/wsj0/transcrp/dots/11-1.1/wsj0/si_tr_s/01i/01ic0200.dot"
    dots.write_text("The sale (01ic0201)\nShe's sure [loud_breath]\n")
    cut = discs / "13-1.1/wsj1/si_tr_s/46i/46ic0301.wv1"
    write(discs / "13-1.1/wsj1/si_tr_s/46i/46ic0302.wv1", sphere_bytes(sound(6)))
    write(discs / "13-34.1/wsj1/trans/wsj1/si_tr_s/46i/46ic0300.lsn", "ONLY (46IC0301)\nA GOOD ONE (46IC0302)\n")
    index = discs / "13-34.1/wsj1/doc/indices/si_tr_s.ndx"
    write(index, "13_1_1:wsj1/si_tr_s/46i/46ic0301.wv1\n13_1_1:wsj1/si_tr_s/46i/46ic0302.wv1\n")
    cut.write_bytes(cut.read_bytes()[:-100])

    _, status, said = generate(run_command, discs)
    assert status == 2 and f"bad record 01ic0201: {gone}: no such file" in said.replace(f" ({gone})", "")

    data_dir, status, said = generate(run_command, discs, "--max_bad_records=3")
    assert status == 0, said
    assert list(stored(data_dir, "train")) == ["46ic0302"]
    manifest = json.loads((data_dir / "wsj_speech" / "manifest.json").read_text())
    reasons = {entry["key"]: entry["reason"] for entry in manifest["dropped"]}
    ndx = discs / "11-13.1/wsj0/doc/indices/train/tr_s_wv1.ndx"
    assert reasons == {
        "01ic0201": f"{gone}: no such file",
        "01ic0202": f"no transcript of 01ic0202 ({ndx}:5) in the 4 .dot and .lsn files below {discs}; "
        f"no name of an utterance ends {dots}:2",
        "46ic0301": f"{cut}: cut short: its header says 1600 samples, 1550 are there",
    }


def test_discs_that_are_missing_name_the_corpus_and_its_stand_in(discs):
    problem = registry.problem("wsj_speech")
    (discs / "13-34.1/wsj1/doc/indices/h1_p0.ndx").unlink()
    with pytest.raises(MissingCorpus, match=r"no .*wsj1/doc/indices/h1_p0\.ndx: Wall .*LDC93S6A.*librispeech is"):
        problem.source_files()
    discs.rename(discs.parent / "elsewhere")
    with pytest.raises(MissingCorpus, match="no .*/wsj_speech: .*11-1.1 to 11-15.1"):
        registry.problem("wsj_speech").source_files()


def test_a_broken_index_is_named_by_line(discs):
    write(discs / "13-34.1/wsj1/doc/indices/si_tr_s.ndx", ";; SI-200\nwsj1/si_tr_s/46i/46ic0301.wv1\n")
    with pytest.raises(UserError, match=r"si_tr_s\.ndx:2: 'wsj1/si_tr_s/46i/46ic0301\.wv1' does not have the form"):
        list(registry.problem("wsj_speech").samples("train"))


@pytest.mark.parametrize(
    "marked, words",
    [
        ("[lip_smack] A [<door_slam] b [door_slam>] c [phone_ring/] d [/phone_ring]", "a b c d"),
        ("The . bank .. said ~", "the bank said"),
        ("~ruptcy was <and> *misread* <*IN*> of", "ruptcy was and misread in of"),
        (
            ',COMMA .PERIOD \\"DOUBLE-QUOTE \\(LEFT-PAREN )RIGHT-PAREN ;SEMI-COLON',
            ',comma .period "double-quote (left-paren )right-paren ;semi-colon',
        ),
        (
            "'SINGLE-QUOTE 'til ?QUESTION-MARK !EXCLAMATION-POINT --DASH -HYPHEN ...ELLIPSIS",
            "'single-quote 'til ?question-mark !exclamation-point -dash -hyphen ...ellipsis",
        ),
        ("five .POINT two %PERCENT", "five point two percent"),
        ("!Real lo:ng com(pany)- Mr. U. S. AT\\&T's", "real long com- mr. u. s. at&t's"),
        ("[loud_breath] . ~", ""),
    ],
)
def test_transcripts_are_normalised(marked, words):
    assert normalised(marked) == words


def test_punctuation_without_its_sign():
    assert normalised(",COMMA --DASH 'SINGLE-QUOTE it's", mark_punctuation=False) == "comma dash single-quote it's"


# ---- SPHERE


@pytest.mark.parametrize("coding, byte_format", [("pcm", "01"), ("pcm", "10"), (SHORTEN, "01"), (SHORTEN, "10")])
@pytest.mark.parametrize("samples", [1, 256, 10001])
def test_sphere_is_read_sample_by_sample(coding, byte_format, samples, tmp_path):
    path = write(tmp_path / "a.wv1", sphere_bytes(sound(0, samples), coding=coding, byte_format=byte_format))
    assert (read_recording(path, 16000) == sound(0, samples)).all()
    assert len(read_recording(path, 8000)) == pytest.approx(samples / 2, abs=1)


def test_a_header_may_have_an_empty_text_and_a_rate_that_is_real(tmp_path):
    for coding, more in (("pcm", ["prompt -s0 "]), (SHORTEN, ["prompt -s0 ", "sample_rate -r 16000.0"])):
        path = write(tmp_path / "a.wv1", sphere_bytes(sound(0), coding=coding, more=more))
        assert (read_recording(path, 16000) == sound(0)).all()


@pytest.mark.parametrize("form", ["sph", "mp3", "flac"])
def test_a_part_may_be_of_a_recording_that_is_longer_than_a_sample(form, tmp_path):
    long = sound(0, 64000)
    path = write(tmp_path / f"a.{form}", sphere_bytes(long)) if form == "sph" else str(tmp_path / f"a.{form}")
    if form != "sph":
        soundfile.write(path, long, 16000)
    part = read_recording(path, 16000, max_seconds=2, seconds=(1, 2.5))
    assert len(part) == 24000
    if form != "mp3":
        assert (part == long[16000:40000]).all()
    for seconds in (None, (0.5, 3)):
        with pytest.raises(ValueError, match="of sound or more, more than max_seconds = 2 allows"):
            read_recording(path, 16000, max_seconds=2, seconds=seconds)


def test_shorten_without_pyav_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    path = write(tmp_path / "a.wv1", sphere_bytes(sound(0), coding=SHORTEN))
    with pytest.raises(ValueError, match=r"a\.wv1: compressed \(pcm,embedded-shorten-v1\.09\).*pip install .*sph2pipe"):
        read_recording(path, 16000)


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"NIST_1A\n   junk\n", "damaged SPHERE header: byte 9 on is b'   junk"),
        (sphere_bytes(sound(0)).replace(b"end_head", b" " * 8), "damaged SPHERE header: no end_head in its 1024"),
        (sphere_bytes(sound(0), more=["sample_rate"]), "damaged SPHERE header: line 14 is 'sample_rate', expected"),
        (sphere_bytes(sound(0), more=["sample_rate -i fast"]), "damaged SPHERE header: sample_rate is 'fast'"),
        (sphere_bytes(sound(0), rate=1), "damaged SPHERE header: sample_rate is '1', a whole number from 1000 to"),
        (sphere_bytes(sound(0), without=["sample_count"]), "damaged SPHERE header: it lacks sample_count"),
        (sphere_bytes(sound(0), more=["sample_coding -s3 abc"]), "libsndfile can't read this SPHERE file"),
        (sphere_bytes(sound(0))[:-2], "cut short: its header says 1600 samples, 1599 are there"),
        (sphere_bytes(sound(0), coding=SHORTEN)[:2000], "cut short or damaged: its header says 1600 samples"),
        (sphere_bytes(sound(0), coding=SHORTEN)[:1024] + b"noise" * 99, "can't be uncompressed"),
        (sphere_bytes([]), "the recording has no samples"),
    ],
)
def test_a_damaged_sphere_file_is_named(content, reason, tmp_path):
    path = write(tmp_path / "a.wv1", content)
    with pytest.raises(ValueError) as error:
        read_recording(path, 16000)
    assert str(error.value).startswith(f"{path}: {reason}") and "\n" not in str(error.value)


@settings(max_examples=60, deadline=None)
@given(coding=st.sampled_from(["pcm", SHORTEN]), at=st.integers(0, 1200), junk=st.binary(min_size=1, max_size=12))
def test_whatever_is_damaged_is_read_or_named(coding, at, junk, tmp_path_factory):
    whole = sphere_bytes(sound(0), coding=coding)
    path = write(tmp_path_factory.getbasetemp() / "damaged.wv1", whole[:at] + junk + whole[at + len(junk) :])
    try:
        assert read_recording(path, 16000).dtype == np.int16
    except ValueError as error:
        assert str(error).startswith(f"{path}: ") and "\n" not in str(error)


def test_a_wv1_that_is_no_sphere_file_is_named(discs):
    path = write(discs / "13-1.1/wsj1/si_tr_s/46i/46ic0301.wv1", b"RIFF\x24\x00\x00\x00WAVEfmt ")
    with pytest.raises(ValueError, match=rf"{path}: no SPHERE file: it begins with b'RIFF"):
        prepared(registry.problem("wsj_speech"), "train")
