"""The vocabulary's promises: every text comes back, the graph gives the same ids, nobody can type a command."""

import io
import json
import shutil

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from t2t_multimodel.data_gen import vocabulary_training
from t2t_multimodel.data_gen.vocabulary_training import (
    TRAINING,
    _escaped,
    assign_commands,
    requested_size,
    symbols_of,
    train_vocabulary,
)
from t2t_multimodel.errors import UserError
from t2t_multimodel.modalities import Text
from t2t_multimodel.problem import Problem
from t2t_multimodel.vocabulary import (
    COMMAND_PIECES,
    COMMAND_SLOTS,
    EOS_ID,
    MODEL_FILE,
    PAD_ID,
    TABLE_FILE,
    UNKNOWN_ID,
    Vocabulary,
    varints,
)

TEXTS = [
    "the small red circle is left of the large blue star",
    "der kleine rote Kreis ist links von dem großen blauen Stern",
    "le petit cercle rouge est à gauche de la grande étoile bleue",
    "(S (NP (DT the) (NN circle)) (VP (VBZ is) (ADJP (JJ red))))",
    "two\nlines and a\ttab",
] * 20

HOSTILE = [
    "",
    " ",
    "  leading, trailing and   inner  ",
    "\n\n\r\r\n\t",
    "nul \0 in the middle",
    "no-break\xa0space, ideographic\u3000space, line\u2028separator, \ufeffbyte order mark",
    "combining: e\u0301 a\u0300\u0301\u0302, precomposed: \xe9",
    "\N{FAMILY} \U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 \U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7",
    "\u2581",
    "\ue000",
    "\u2581\ue000\u2581",
    "\ue0000\ue0001",
    "\ue000\u2581" * 3 + "01",
    "a\u2581b \u2581 c",
    "<s></s><pad><unk><0x0A><0xFF>",
    "".join(COMMAND_PIECES),
    " <command_00> text <command_63>",
    "\ud7ff\uf8ff\ufffd\uffff\U0010ffff\U000f0000",
    "مرحبا שלום 漢字 ไทย",
    "\u202eright to left\u202c",
    "x" * 5000,
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "vocabulary"
    train_vocabulary(folder, TEXTS, size=600)
    return folder


@pytest.fixture(scope="module")
def vocabulary(folder):
    return Vocabulary.load(folder)


@pytest.fixture(scope="module")
def symbol_vocabulary(tmp_path_factory):
    """With words that are one id each, runs of blanks among the subwords, and room for few words."""
    text = ["(NP the    house )NP", "    das Haus, the the", "  (NP a\tb"] * 20
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("t2t_multimodel.vocabulary._MOST_WORDS", 3)
        yield train_vocabulary(tmp_path_factory.mktemp("v"), text, size=450, symbols=["(NP", ")NP"])


def test_counted_words_give_the_vocabulary_that_whole_lines_give(tmp_path):
    """Trained on the lines themselves is the reference; it has the tab as a subword too, which costs one byte here."""
    text = [text for text in TEXTS if "\t" not in text]
    text += [f"  {text}  {text[::-1]} (NP x" for text in text]
    options = {name: value for name, value in TRAINING.items() if name != "input_format"}
    options["user_defined_symbols"] = ["\n", "\u2581(NP"]
    model = io.BytesIO()
    lines = [line for text in text for line in _escaped(text).split("\n")]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, vocab_size=600, minloglevel=2, **options
    )
    counted = train_vocabulary(tmp_path, text, size=600, symbols=["(NP"])
    assert counted.digest == Vocabulary(model.getvalue(), {}).digest


def in_graph_ids(vocabulary, texts, units):
    import tensorflow as tf

    return vocabulary.in_graph().tokenize(tf.constant([text.encode() for text in texts]), units)


every_unit = pytest.mark.parametrize("units", ["subwords", "characters"])


@every_unit
@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_comes_back_and_the_graph_agrees(vocabulary, text, units):
    ids = vocabulary.encode(text, units)
    assert vocabulary.decode(ids) == text
    graph_ids = in_graph_ids(vocabulary, [text], units)
    assert graph_ids.to_list() == [ids]
    assert vocabulary.in_graph().detokenize(graph_ids).numpy()[0].decode() == text


# Any code point of any plane but halves of surrogate pairs, with those that the escape is about made frequent.
any_text = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\u2581\ue00001 \n\0<>\u200d"))


@every_unit
@settings(max_examples=100, deadline=None)
@given(texts=st.lists(any_text, min_size=1, max_size=8))
def test_any_text_comes_back_and_the_graph_agrees(vocabulary, units, texts):
    ids = vocabulary.encode_batch(texts, units)
    assert ids == [vocabulary.encode(text, units) for text in texts]
    assert ids == [_unpacked(content) for content in vocabulary.encode_packed(texts, units)]
    assert [vocabulary.decode(row) for row in ids] == texts
    graph_ids = in_graph_ids(vocabulary, texts, units)
    assert graph_ids.dtype.name == "int32"
    assert graph_ids.to_list() == ids
    assert [text.decode() for text in vocabulary.in_graph().detokenize(graph_ids).numpy()] == texts


words = st.sampled_from(["", "the", "Haus", "\n", "\u2581", "a\tb", "(NP", "(NPX", "日本", "\U0001f468\u200d"])


@settings(max_examples=200, deadline=None)
@given(texts=st.lists(st.lists(words | any_text, max_size=12).map(" ".join), min_size=1, max_size=8))
def test_words_that_are_looked_up_have_the_ids_that_whole_texts_give(symbol_vocabulary, texts):
    """Also where so many words came that the earlier ones were forgotten."""
    for _ in range(2):
        packed = symbol_vocabulary.encode_packed(texts)
        assert [_unpacked(content) for content in packed] == [symbol_vocabulary.encode(text) for text in texts]


def _unpacked(content):
    """As protobuf reads them."""
    from tensorflow_datasets.proto import tf_example_pb2

    message = tf_example_pb2.Example().features.feature["ids"]
    message.int64_list.MergeFromString(b"\x0a" + varints([len(content)]) + content)
    assert len(message.int64_list.value) == sum(byte < 128 for byte in content)
    return list(message.int64_list.value)


def test_each_character_is_one_id_or_its_bytes(vocabulary):
    assert len(vocabulary.encode("the house")) < 9
    assert vocabulary.pieces(vocabulary.encode("the house", "characters")) == [*"the▁house"]
    assert vocabulary.pieces(vocabulary.encode("t☃", "characters")) == ["t", "<0xE2>", "<0x98>", "<0x83>"]


@settings(max_examples=100, deadline=None)
@given(text=any_text | st.sampled_from([*COMMAND_PIECES, "<pad>", "</s>", "<unk>"]))
def test_typed_text_never_gives_a_special_id(vocabulary, text):
    special = {PAD_ID, EOS_ID, UNKNOWN_ID, *range(3, 3 + COMMAND_SLOTS)}
    assert not special & set(vocabulary.encode(text))


@settings(max_examples=100, deadline=None)
@given(ids=st.lists(st.lists(st.integers(-3, 700), max_size=20), min_size=1, max_size=4))
def test_any_ids_decode_and_the_graph_agrees(vocabulary, ids):
    import tensorflow as tf

    ragged = tf.ragged.constant(ids, dtype=tf.int32, ragged_rank=1)
    graph = [text.decode() for text in vocabulary.in_graph().detokenize(ragged).numpy()]
    assert graph == [vocabulary.decode(row) for row in ids]


def test_decoding_stops_at_the_end_and_skips_what_stands_for_nothing(vocabulary):
    hello = vocabulary.encode("hello")
    beyond = vocabulary.size + 5  # a row of an embedding that was padded to a round size
    assert vocabulary.decode([PAD_ID, 5, *hello, beyond, UNKNOWN_ID, EOS_ID, *vocabulary.encode("more")]) == "hello"


def test_text_that_is_not_unicode_is_refused(vocabulary):
    with pytest.raises(UserError, match="half of a surrogate pair at character 3"):
        vocabulary.encode("abc\ud800")


def test_ids_of_the_special_tokens(vocabulary):
    pieces = [vocabulary._processor.id_to_piece(i) for i in range(vocabulary.size)]
    assert pieces[:3] == ["<pad>", "</s>", "<unk>"]
    assert tuple(pieces[3 : 3 + COMMAND_SLOTS]) == COMMAND_PIECES
    assert vocabulary.encode("\n") == [pieces.index("\n")]


def test_training_repeats_and_small_text_gives_a_small_vocabulary(folder, vocabulary, tmp_path):
    again = train_vocabulary(tmp_path, iter(TEXTS), size=600)
    assert again.digest == vocabulary.digest
    assert (tmp_path / MODEL_FILE).read_bytes() == (folder / MODEL_FILE).read_bytes()
    small = train_vocabulary(tmp_path / "small", ["ab"] * 3, size=8192)
    assert 324 < small.size < 400
    assert requested_size(tmp_path / "small") == 8192


def test_long_texts_are_sampled_by_their_size(monkeypatch):
    monkeypatch.setattr(vocabulary_training, "_MOST_CHARACTERS", 1000)
    texts = [f"{i:010d}" for i in range(5000)]
    kept = vocabulary_training._sample(iter(texts), 10**6)
    assert 40 <= len(kept) <= 100 and kept == sorted(kept)
    assert 1000 < sum(map(int, kept)) / len(kept) < 4000  # from all over the corpus


def test_sampled_lines_are_the_same_lines_every_time(tmp_path):
    lines = [f"line {i} {i * 7919 % 1000}" for i in range(2000)]
    one, two = (train_vocabulary(tmp_path / name, lines, size=500, most_lines=200) for name in "ab")
    assert one.digest == two.digest
    assert one.digest != train_vocabulary(tmp_path / "all", lines, size=500).digest


@pytest.mark.parametrize(
    "texts, size, said",
    [
        ([], 8192, "no text"),
        (["abc"], 100, "at least 400"),
        (["".join(chr(c) for c in range(0x4E00, 0x5200))], 400, "too small for the alphabet"),
    ],
)
def test_training_that_can_not_work_says_why(tmp_path, texts, size, said):
    with pytest.raises(UserError, match=said):
        train_vocabulary(tmp_path / "v", texts, size=size)
    assert not (tmp_path / "v").exists()


def test_commands_take_the_next_free_symbol_and_the_digest_stays(folder, vocabulary, tmp_path):
    own = shutil.copytree(folder, tmp_path / "v")
    options = json.loads((own / TABLE_FILE).read_text())["training"]
    assert assign_commands(own, ["to_german", "to_french"]).commands == {"to_german": 3, "to_french": 4}
    assert assign_commands(own, ["to_label", "to_german", "to_label"]).commands["to_label"] == 5
    again = Vocabulary.load(own)
    assert again.commands == {"to_german": 3, "to_french": 4, "to_label": 5}
    assert again.digest == vocabulary.digest
    assert json.loads((own / TABLE_FILE).read_text())["training"] == options
    with pytest.raises(UserError, match="did you mean 'to_german'"):
        again.command_id("to_germna")
    with pytest.raises(UserError, match="room for 64 commands"):
        assign_commands(own, [f"command_{i}" for i in range(COMMAND_SLOTS - 2)])
    assert Vocabulary.load(own).commands == again.commands


def test_a_copy_is_the_same_vocabulary(folder, tmp_path):
    own = shutil.copytree(folder, tmp_path / "v")
    vocabulary = assign_commands(own, ["to_german"])
    vocabulary.copy_to(tmp_path / "run" / "vocabulary")
    copy = Vocabulary.load(tmp_path / "run" / "vocabulary")
    assert (copy.digest, copy.size, copy.commands) == (vocabulary.digest, vocabulary.size, {"to_german": 3})


def test_a_missing_vocabulary_is_an_error(tmp_path):
    with pytest.raises(UserError, match="no vocabulary in .*t2t-datagen"):
        Vocabulary.load(tmp_path)


@pytest.mark.parametrize(
    "file, damage",
    [
        (MODEL_FILE, lambda content: content[: len(content) // 2]),
        (MODEL_FILE, lambda content: b""),
        (MODEL_FILE, lambda content: content.replace(b"circle", b"cirkle")),
        (TABLE_FILE, lambda content: content[:40]),
        (TABLE_FILE, lambda content: b"[]"),
        (TABLE_FILE, lambda content: content.replace(b'"commands"', b'"comands"')),
    ],
)
def test_a_damaged_vocabulary_is_an_error(folder, tmp_path, file, damage):
    own = shutil.copytree(folder, tmp_path / "v")
    (own / file).write_bytes(damage((own / file).read_bytes()))
    with pytest.raises(UserError, match="is damaged"):
        Vocabulary.load(own)


# ---- Symbols


def test_symbols_are_one_id_each_behind_a_space_and_nothing_is_lost(tmp_path):
    """In Python and in the graph; also where a word begins with one, and for text that never saw one."""
    import tensorflow as tf

    texts = ["(S (NP DT NN )NP (VP VBZ )VP )S", "the circle sleeps"] * 20
    vocabulary = train_vocabulary(tmp_path, texts, size=500, symbols=["(NP", ")NP", "VBZ"])
    assert len(vocabulary.encode(" (NP VBZ )NP VBZ")) == 4
    strings = [*texts[:2], " (NPX", "VBZ", "a (NP) b", "▁(NP", "naïve 🇩🇪 )NP"]
    for text in strings:
        assert vocabulary.decode(vocabulary.encode(text)) == text
    ids = vocabulary.in_graph().tokenize(tf.constant(strings)).to_list()
    assert ids == vocabulary.encode_batch(strings)


def test_symbols_are_what_matches_in_the_training_text():
    class Trees(Problem):
        name, inputs, targets = "trees", Text(), Text("tree", symbols=r"[()]\S+")

        def samples(self, split):
            yield {"inputs": "(typed) by hand", "targets": "(S (NP dogs )NP (VP bark )VP )S"}

    assert symbols_of(Trees()) == ["(NP", "(S", "(VP", ")NP", ")S", ")VP"]
    with pytest.raises(ValueError, match="no regular expression"):
        Text(symbols="[")
    with pytest.raises(ValueError, match="are subwords"):
        Text(symbols="a", units="characters")
    with pytest.raises(ValueError, match="'subwords', 'characters'"):
        Text(units="letters")
