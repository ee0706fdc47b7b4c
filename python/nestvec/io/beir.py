"""Data sets in BEIR's layout (Thakur et al. 2021, arXiv:2104.08663): a corpus, queries, and judgements."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

from nestvec.errors import ArgumentError
from nestvec.io.texts import TextInput

Judgements = dict[str, dict[str, int]]


@dataclass(frozen=True)
class Qrels:
    """Judgements above 0, by query and document; and the unknown id of each judgement that was left out."""

    judgements: Judgements
    unknown_queries: list[str]
    unknown_documents: list[str]


@dataclass(frozen=True)
class Beir:
    """A data set: texts by id, in the order of their files.

    documents: title and text, joined by a space. queries: if the data set has judgements, only the judged queries.
    judgements: for each query the gains by row, the position of a document in `documents`; None if the data set has no
        judgements. own_rows: for each query the row of the document that has its id, -1 for none. BEIR leaves this
        document out of the ranking of the query (ignore_identical_ids), as in ArguAna, whose queries are documents.
        notes: sentences on the omissions.
    """

    documents: dict[str, str]
    queries: dict[str, str]
    judgements: list[dict[int, int]] | None
    own_rows: list[int]
    notes: tuple[str, ...]


def read_jsonl(path: str | Path) -> dict[str, str]:
    """Reads texts by id from a corpus.jsonl or queries.jsonl: `_id`, `text` and optionally `title` on every line.

    A title is put before its text, with a space between. Blank lines are skipped. Raises `ArgumentError`, which names
    the file and the line, for a line with other content or a repeated id; OSError.
    """
    source = TextInput(str(path), "jsonl")
    texts: dict[str, str] = {}
    for number, line in source.lines():
        value = source.parsed(line, number)
        for name in ("_id", "text"):
            if name not in value:
                fields = ", ".join(f'"{other}"' for other in list(value)[:8]) or "none"
                raise source.error(number, f'no "{name}" (fields: {fields}); expected "_id" and "text", as BEIR has')
        if isinstance(value["_id"], int) and not isinstance(value["_id"], bool):
            value["_id"] = str(value["_id"])  # qrels have ids without quotes
        if value.get("title") is None:
            value["title"] = ""
        key, title, text = (source.string(value, name, number) for name in ("_id", "title", "text"))
        if key in texts:
            raise source.error(number, f'"_id" is {key!r:.60}, as on an earlier line; expected every id once')
        texts[key] = f"{title} {text}".strip()
    return texts


def read_qrels(path: str | Path, queries: Container[str], documents: Container[str]) -> Qrels:
    """Reads judgements above 0 from qrels/<split>.tsv: query id, document id and an integer, separated by tabs.

    queries, documents: the known ids. Judgements of other ids are left out and listed: no search can ask for or find
    them. A first line whose third field is not an integer is a heading. Raises `ArgumentError`, which names the file
    and the line, for a line with other content; OSError.
    """
    source = TextInput(str(path), "text")
    judgements: Judgements = {}
    unknown_queries: list[str] = []
    unknown_documents: list[str] = []
    first = True
    for number, line in source.lines():
        fields = line.split("\t")
        gain = _integer(fields[2]) if len(fields) == 3 else None
        heading, first = first and len(fields) == 3 and gain is None, False
        if heading:
            continue
        if gain is None:
            raise source.error(number, f"{line!r:.80}; expected query id, document id and an integer, tab-separated")
        query, document, _ = fields
        if query not in queries:
            unknown_queries.append(query)
        elif document not in documents:
            unknown_documents.append(document)
        elif gain > 0:
            judgements.setdefault(query, {})[document] = gain
    return Qrels(judgements, unknown_queries, unknown_documents)


def read_beir(folder: str | Path, split: str = "test") -> Beir:
    """Reads corpus.jsonl, queries.jsonl and, if it exists, qrels/<split>.tsv.

    Raises `ArgumentError` for a bad line, or if no query is left; OSError for a missing file.
    """
    folder = Path(folder)
    documents, queries = read_jsonl(folder / "corpus.jsonl"), read_jsonl(folder / "queries.jsonl")
    rows = {document: row for row, document in enumerate(documents)}
    path = folder / "qrels" / f"{split}.tsv"
    judgements: list[dict[int, int]] | None = None
    notes: list[str] = []
    if path.exists():
        qrels = read_qrels(path, queries, documents)
        judged = {query: text for query, text in queries.items() if query in qrels.judgements}
        judgements = [{rows[document]: gain for document, gain in qrels.judgements[query].items()} for query in judged]
        if unjudged := len(queries) - len(judged):
            notes.append(f"{unjudged:,} of {len(queries):,} queries have no judgement above 0 and were left out.")
        unknown = (
            ("documents", "the corpus", qrels.unknown_documents),
            ("queries", "queries.jsonl", qrels.unknown_queries),
        )
        for what, place, ids in unknown:
            if ids:
                notes.append(
                    f"{len(ids):,} judgements name {what} that {place} does not have; the first is {ids[0]!r:.60}."
                )
        queries = judged
    elif path.parent.is_dir():
        others = ", ".join(sorted(other.name for other in path.parent.glob("*.tsv"))) or "no .tsv file"
        notes.append(f"qrels/{path.name} does not exist (the folder has {others}): measured without judgements.")
    if not documents or not queries:
        what = "queries with a judgement" if documents else "documents"
        raise ArgumentError(f"{folder} holds no {what}; expected a data set in BEIR's layout")
    return Beir(documents, queries, judgements, [rows.get(query, -1) for query in queries], tuple(notes))


def _integer(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None
