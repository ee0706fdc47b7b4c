"""Tokenizing: from a text to the token ids that the model sees."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nestvec.base.optional import require
from nestvec.errors import ArgumentError, ModelError

CHARS_PER_TOKEN = 8  # of the first cut of a text, per token kept; English prose has 4 to 5
SETTLED_WORDS = 16  # between the last token kept and the cut; with fewer words the cut is too early


class TextTokenizer:
    """The tokenizer of tokenizer.json. It truncates to `max_length` tokens by itself and does not pad.

    A long text is cut before it is tokenized, because tokenizing a megabyte to keep 256 tokens takes half a second:

        text    |<-------- 8 characters per token kept -------->| cut, never within a number
        tokens  |<- max_length tokens kept ->|<- >= 16 words -->|

    With fewer than 16 words (of the tokenizer) between the last token kept and the cut, the cut moves further right, at
    last to the end of the text. So it changes no id for a tokenizer whose rules look less than 16 words ahead. A number
    stays whole because some tokenizers group digits from its end.

    Texts are tokenized one by one, on the calling thread: a batch would use the threads of the tokenizers library,
    whose number is not limited by `threads` and which do not survive a fork.
    """

    def __init__(self, path: Path, config: Mapping[str, Any], *, lower_case: bool, max_length: int) -> None:
        """Reads tokenizer.json; `config` is tokenizer_config.json. Raises `ModelError` for unsupported settings."""
        tokenizers = require("tokenizers", "cpu", "encoding text")
        try:
            tokenizer = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise ModelError(f"{path} cannot be read as a tokenizer: {error}") from error
        file_padding = tokenizer.padding or {}
        tokenizer.no_padding()
        tokenizer.no_truncation()
        if lower_case:  # as sentence-transformers handles do_lower_case
            rules = [tokenizers.normalizers.Lowercase()]
            rules += [tokenizer.normalizer] if tokenizer.normalizer else []
            tokenizer.normalizer = tokenizers.normalizers.Sequence(rules)
        self._tokenizer = tokenizer
        probe = tokenizer.encode("a")
        _check(path, config, tokenizer, probe)
        special = probe.special_tokens_mask
        self._prefix = special.index(0)
        self._suffix = special[::-1].index(0)
        if max_length <= self._prefix + self._suffix:
            raise ArgumentError(
                f"max_length is {max_length}, expected at least {self._prefix + self._suffix + 1}: the model puts "
                f"{self._prefix + self._suffix} special tokens around each text"
            )
        self.max_length = max_length
        padding = tokenizer.token_to_id(_token(config.get("pad_token")) or "")
        self.padding_id: int = file_padding.get("pad_id", 0) if padding is None else padding
        self.pads_left = config.get("padding_side", "right") == "left"

    def encode(self, text: str) -> list[int]:
        """Returns the token ids of a text, special tokens included, at most `max_length`.

        A lone half of a surrogate pair is not Unicode text and counts as U+FFFD; two halves of a pair are joined.
        """
        ids = self._encode_enough(text)
        if len(ids) <= self.max_length:
            return ids
        return ids[: self.max_length - self._suffix] + ids[len(ids) - self._suffix :]

    def count(self, text: str) -> int:
        """Counts the tokens of the whole text, special tokens included."""
        return len(self._encode(text).ids)

    def prompt_tokens(self, prompt: str) -> int:
        """Counts the tokens of the prompt at the start of a text, the leading special tokens included.

        As in sentence-transformers: the tokens of the prompt alone, less a special token at its end.
        """
        return len(self.encode(prompt)) - min(self._suffix, 1) if prompt else 0

    def _encode(self, text: str) -> Any:
        try:
            return self._tokenizer.encode(text)
        except TypeError:  # lone surrogates, which have no UTF-8
            return self._tokenizer.encode(text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace"))

    def _encode_enough(self, text: str) -> list[int]:
        """Returns ids whose first `max_length` are those of the whole text, the special tokens at the end apart."""
        chars = CHARS_PER_TOKEN * self.max_length
        while chars < len(text):
            cut = next((i for i in range(chars, 0, -1) if not text[i - 1].isnumeric()), 0)
            if cut:
                encoding = self._encode(text[:cut])
                if self._is_settled(encoding.word_ids):
                    break
            chars = 16 * chars if 64 * chars < len(text) else len(text)
        else:
            encoding = self._encode(text)
        ids: list[int] = encoding.ids
        return ids

    def _is_settled(self, words: list[int | None]) -> bool:
        """Whether a cut text has at least `SETTLED_WORDS` words after the last token kept."""
        last_kept = self.max_length - self._suffix - 1
        last = len(words) - self._suffix - 1
        if last <= last_kept:
            return False
        kept_word, last_word = words[last_kept], words[last]
        return kept_word is not None and last_word is not None and last_word - kept_word >= SETTLED_WORDS


def _token(value: object) -> str | None:
    """Returns a token of tokenizer_config.json, which is a string or an object with its `content`."""
    if isinstance(value, Mapping):
        value = value.get("content")
    return value if isinstance(value, str) else None


def _check(path: Path, config: Mapping[str, Any], tokenizer: Any, probe: Any) -> None:
    """Raises `ModelError` for settings that transformers follows and tokenizer.json does not contain."""
    config_path = path.with_name("tokenizer_config.json")
    if config.get("truncation_side", "right") != "right":
        raise ModelError(f"{config_path}: truncation_side is {config['truncation_side']!r}; nestvec cuts at the right")
    if config.get("padding_side", "right") not in ("left", "right"):
        raise ModelError(f"{config_path}: padding_side is {config['padding_side']!r}; expected left or right")
    lowers = getattr(tokenizer.normalizer, "lowercase", None)
    if None not in (lowers, config.get("do_lower_case")) and lowers != config["do_lower_case"]:
        raise ModelError(
            f"{config_path} has do_lower_case {config['do_lower_case']}, and the normalizer in {path} has lowercase "
            f"{lowers}; expected the same value; transformers follows the former, so correct the wrong file"
        )
    if 0 not in probe.special_tokens_mask:
        raise ModelError(f'{path} finds no token in the text "a"; expected a tokenizer for text')
    if any(probe.type_ids):
        raise ModelError(f"{path} gives token types {probe.type_ids}; nestvec runs models whose texts have type 0")
    for key, token, end in (("add_bos_token", "bos_token", 0), ("add_eos_token", "eos_token", -1)):
        wanted = _token(config.get(token))
        if config.get(key) is True and wanted is not None and probe.tokens[end] != wanted:
            raise ModelError(
                f"{config_path} has {key}, but {path} puts {probe.tokens[end]!r} in that place; expected {wanted!r}; "
                "save the tokenizer again with transformers' save_pretrained"
            )
