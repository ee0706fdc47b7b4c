"""Counts and times of encoding."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class EncodeStats:
    """Counts and times of encoding. A call with `stats=` adds to them, batch by batch.

    texts, batches: their numbers. tokens: the tokens that the model saw, special tokens included. padded_tokens: the
    same with the padding.
    seconds_total: wall time, with the time that the iterable of texts takes, without the caller's time between windows.
    seconds_tokenize: tokenizing, in the background while the engine runs; so the three parts add up to more than the
    total. seconds_engine: in the engine. seconds_rest: filling the input arrays, and the pipeline after the run.
    """

    texts: int = 0
    tokens: int = 0
    padded_tokens: int = 0
    batches: int = 0
    seconds_total: float = 0.0
    seconds_tokenize: float = 0.0
    seconds_engine: float = 0.0
    seconds_rest: float = 0.0

    def add(self, other: EncodeStats) -> None:
        """Adds the counts and times of another call."""
        self.texts += other.texts
        self.tokens += other.tokens
        self.padded_tokens += other.padded_tokens
        self.batches += other.batches
        self.seconds_total += other.seconds_total
        self.seconds_tokenize += other.seconds_tokenize
        self.seconds_engine += other.seconds_engine
        self.seconds_rest += other.seconds_rest
