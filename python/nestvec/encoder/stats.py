"""What encoding did and how long it took."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class EncodeStats:
    """What encoding took. Every call that is given one adds to it, batch by batch.

    texts, batches: their numbers. tokens: of the texts as the model saw them, special tokens included. padded_tokens:
    the same with the padding.
    seconds_total: wall time, drawing the texts included, without what the caller does between two windows.
    seconds_tokenize: tokenizing, which goes on in the background during ONNX runs: the three parts add up to more than
    the total. seconds_onnx: in onnxruntime. seconds_rest: filling the input arrays, and the pipeline after the run.
    """

    texts: int = 0
    tokens: int = 0
    padded_tokens: int = 0
    batches: int = 0
    seconds_total: float = 0.0
    seconds_tokenize: float = 0.0
    seconds_onnx: float = 0.0
    seconds_rest: float = 0.0

    def add(self, other: EncodeStats) -> None:
        """Adds what another call took."""
        self.texts += other.texts
        self.tokens += other.tokens
        self.padded_tokens += other.padded_tokens
        self.batches += other.batches
        self.seconds_total += other.seconds_total
        self.seconds_tokenize += other.seconds_tokenize
        self.seconds_onnx += other.seconds_onnx
        self.seconds_rest += other.seconds_rest
