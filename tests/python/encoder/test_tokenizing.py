"""Token ids: the early cut of a long text changes no id, and settings in the files are followed or refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_models import BERT_SPECIAL, LETTERS, WORDS, vocabulary, write_tokenizer
from tokenizers import models, normalizers, pre_tokenizers, processors, trainers

from nestvec.encoder.tokenizing import TextTokenizer
from nestvec.errors import ArgumentError, ModelError

MAX_LENGTH = 6
SAMPLE = [
    "the cat sat on the mat. how do i parse a date from a string? 1234567 12,345",
    "e\u0301a\u0300 日本語 open file!",
]


def word_piece() -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(
        models.WordPiece({token: i for i, token in enumerate(vocabulary(BERT_SPECIAL))}, unk_token="[UNK]")
    )
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.add_special_tokens(list(BERT_SPECIAL))
    tokenizer.add_tokens(["sat on the mat"])
    return tokenizer


def byte_level() -> tokenizers.Tokenizer:
    """Splits as RoBERTa and GPT-2 do: white space belongs to the word after it."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(SAMPLE, trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet))
    return tokenizer


def right_aligned_digits() -> tokenizers.Tokenizer:
    """Groups three digits each from the end of a number, so that a cut in the number would move every group."""
    tokenizer = byte_level()
    groups = pre_tokenizers.Split(tokenizers.Regex(r"\d{1,3}(?=(?:\d{3})*(?:\D|$))"), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([groups, tokenizer.pre_tokenizer])
    return tokenizer


def unigram() -> tokenizers.Tokenizer:
    """Splits as XLM-R does: a word ends only at a space, however long it is."""
    tokenizer = tokenizers.Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(tokenizers.Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=120, unk_token="<unk>", special_tokens=["<unk>", "</s>"])
    tokenizer.train_from_iterator([*SAMPLE, *WORDS, *LETTERS], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return tokenizer


def without_words() -> tokenizers.Tokenizer:
    """Does not split, like Llama's first tokenizers."""
    tokenizer = tokenizers.Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    trainer = trainers.BpeTrainer(vocab_size=120, special_tokens=["<unk>"])
    tokenizer.train_from_iterator(SAMPLE, trainer)
    return tokenizer


TOKENIZERS: dict[str, Callable[[], tokenizers.Tokenizer]] = {
    "word piece": word_piece,
    "byte level": byte_level,
    "right-aligned digits": right_aligned_digits,
    "unigram": unigram,
    "without words": without_words,
}


def read(folder: Path, tokenizer: tokenizers.Tokenizer, config: dict[str, Any] | None = None, **options: Any) -> Any:
    path = folder / "tokenizer.json"
    tokenizer.save(str(path))
    return TextTokenizer(path, config or {}, **{"lower_case": False, "max_length": MAX_LENGTH, **options})


def truncated(tokenizer: tokenizers.Tokenizer, text: str) -> list[int]:
    """The ids of the whole text, truncated by the tokenizers library."""
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_LENGTH)
    ids: list[int] = tokenizer.encode(text).ids
    return ids


@pytest.fixture(scope="module", params=list(TOKENIZERS))
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, tokenizers.Tokenizer]:
    """Returns nestvec's tokenizer of a file, and the library's."""
    tokenizer = TOKENIZERS[request.param]()
    return read(tmp_path_factory.mktemp("tokenizer"), tokenizer), tokenizer


# Pieces whose split depends on the text around them: white space, numbers, marks, special tokens, words without an end.
PIECE = st.one_of(
    st.sampled_from(
        [*WORDS[:12], " ", "  ", "\n", "\t", "1", "1234567", "12,345", "e\u0301", "\u0301", "日本", "😀", "."]
    ),
    st.sampled_from(
        ["sat on the mat", "[SEP]", "[MASK]", "</s>", "xyzzy" * 25, " " * 40, "7" * 50, "\u3000", "ﬁ", "A"]
    ),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(PIECE, max_size=60), separator=st.sampled_from(["", " "]), repeat=st.sampled_from([1, 1, 7]))
def test_a_cut_changes_no_id(
    pair: tuple[Any, tokenizers.Tokenizer], pieces: list[str], separator: str, repeat: int
) -> None:
    ours, theirs = pair
    text = separator.join(pieces * repeat)
    assert ours.encode(text) == truncated(theirs, text)


@pytest.mark.parametrize("text", ["a " * 500_000, "the cat\n" * 130_000, "日本語。" * 250_000, "12,345.67 " * 100_000])
def test_a_megabyte_is_not_tokenized_whole(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = read(tmp_path, word_piece())
    seen: list[int] = []
    whole = ours._encode

    def encode(text: str) -> Any:
        seen.append(len(text))
        return whole(text)

    monkeypatch.setattr(ours, "_encode", encode)
    ids = ours.encode(text)
    assert ids == truncated(word_piece(), text[:10_000])
    assert sum(seen) < 1000


def test_a_long_word_is_tokenized_to_its_end(tmp_path: Path) -> None:
    # WordPiece makes [UNK] of a word longer than 100 characters, so the id depends on the end of the word.
    assert read(tmp_path, word_piece()).encode("a" * 300_000 + " cat") == [
        2,
        1,
        vocabulary(BERT_SPECIAL).index("cat"),
        3,
    ]


@pytest.mark.parametrize("text", ["cat " + "1234567" * 150, "1234567" * 150, "12,345 " + "1234567" * 40])
def test_a_number_is_not_cut(tmp_path: Path, text: str) -> None:
    ours = read(tmp_path, right_aligned_digits(), max_length=32)
    theirs = right_aligned_digits()
    assert ours.encode(text) == theirs.encode(text).ids[:32]


@pytest.mark.parametrize("spaces", range(24, 46))
def test_a_cut_in_a_token_of_several_words(tmp_path: Path, spaces: int) -> None:
    text = "a a a" + " " * spaces + "sat on the mat" + " a" * 100
    assert read(tmp_path, word_piece()).encode(text) == truncated(word_piece(), text)


def test_special_tokens_stay_when_a_text_is_cut(tmp_path: Path) -> None:
    ours = read(tmp_path, word_piece())
    ids = ours.encode("the cat drove to the mat")
    assert len(ids) == MAX_LENGTH
    assert (ids[0], ids[-1]) == (2, 3)
    assert ours.encode("") == [2, 3]
    assert ours.count("the cat drove to the mat") == 8
    assert ours.encode("the cat sat on") == truncated(word_piece(), "the cat sat on")


def test_truncation_and_padding_of_the_file_are_not_used(tmp_path: Path) -> None:
    tokenizer = word_piece()
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=20, pad_id=4)
    ours = read(tmp_path, tokenizer)
    assert ours.encode("the cat") == [2, *[tokenizer.token_to_id(word) for word in ("the", "cat")], 3]
    assert ours.padding_id == 4
    assert read(tmp_path, tokenizer, {"pad_token": "[PAD]"}).padding_id == 0
    assert read(tmp_path, tokenizer, {"pad_token": {"content": "[MASK]"}}).padding_id == 4


def test_halves_of_surrogate_pairs(tmp_path: Path) -> None:
    ours = read(tmp_path, byte_level())
    assert ours.encode("a\ud800") == ours.encode("a\ufffd")
    assert ours.encode("\udc00a\ud800") == ours.encode("\ufffda\ufffd")
    assert ours.encode("\ud83d\ude00") == ours.encode("😀")
    assert ours.count("\ud800") == ours.count("\ufffd")
    long = "\ud83d\ude00 the cat " * 1000
    assert ours.encode(long) == truncated(byte_level(), "😀 the cat " * 1000)


def test_lower_case_is_put_before_the_rules(tmp_path: Path) -> None:
    tokenizer = word_piece()
    for normalizer in (normalizers.BertNormalizer(lowercase=False), None):
        tokenizer.normalizer = normalizer
        plain, lowered = read(tmp_path, tokenizer), read(tmp_path, tokenizer, lower_case=True)
        assert lowered.encode("The CAT") == plain.encode("the cat") != plain.encode("The CAT")


def test_tokens_of_a_prompt(tmp_path: Path) -> None:
    ours = read(tmp_path, word_piece())
    assert ours.prompt_tokens("") == 0
    assert ours.prompt_tokens("query: ") == 3  # [CLS] query :
    assert read(tmp_path, byte_level()).prompt_tokens("a") == 1


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"truncation_side": "left"}, "truncation_side is 'left'; nestvec cuts at the right"),
        ({"padding_side": "top"}, "padding_side is 'top'"),
        ({"do_lower_case": False}, "do_lower_case False, and the normalizer in .* lowercase True"),
        (
            {"add_eos_token": True, "eos_token": "[MASK]"},
            r"add_eos_token, but .* puts '\[SEP\]' in that place; expected '\[MASK\]'",
        ),
        ({"add_bos_token": True, "bos_token": {"content": "[PAD]"}}, "add_bos_token"),
    ],
)
def test_settings_that_the_tokenizer_contradicts(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        read(tmp_path, word_piece(), config)


def test_settings_that_the_tokenizer_follows(tmp_path: Path) -> None:
    ours = read(tmp_path, word_piece(), {"do_lower_case": True, "add_eos_token": True, "eos_token": "[SEP]"})
    assert ours.pads_left is False
    assert read(tmp_path, word_piece(), {"padding_side": "left"}).pads_left is True


def test_token_types_other_than_zero(tmp_path: Path) -> None:
    tokenizer = word_piece()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A:1 [SEP]:2", special_tokens=[("[SEP]", 3)])
    with pytest.raises(ModelError, match=r"token types \[1, 2\]"):
        read(tmp_path, tokenizer)


def test_a_tokenizer_without_letters(tmp_path: Path) -> None:
    tokenizer = tokenizers.Tokenizer(models.WordLevel({"the": 0}, unk_token="the"))
    tokenizer.normalizer = normalizers.Replace("a", "")
    with pytest.raises(ModelError, match="finds no token"):
        read(tmp_path, tokenizer)


def test_a_max_length_that_leaves_no_room(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="max_length is 2, expected at least 3"):
        read(tmp_path, word_piece(), max_length=2)
    assert read(tmp_path, word_piece(), max_length=3).encode("the cat") == [2, 5, 3]


@pytest.mark.parametrize("content", [b"", b"{", b'{"version": "1.0"}', b"\xff\xfe"])
def test_a_damaged_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"tokenizer\.json cannot be read as a tokenizer"):
        TextTokenizer(path, {}, lower_case=False, max_length=8)


def test_tokenizer_of_the_tiny_models(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, BERT_SPECIAL, None)
    ours = TextTokenizer(tmp_path / "tokenizer.json", {}, lower_case=False, max_length=16)
    assert ours.encode("The cat!") == [2, *[vocabulary(BERT_SPECIAL).index(word) for word in ("the", "cat", "!")], 3]
