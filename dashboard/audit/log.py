"""The log of audits: append-only records in SQLite or PostgreSQL. Each record holds the hash of the one before it.

The database refuses UPDATE and DELETE; to undo a verdict is to add a record. `check` finds the first record that was
tampered with all the same. Without sign-in the log keeps who reviewers said they were; with it, the e-mail by which
they signed in.
"""

from __future__ import annotations

import hashlib
import json
import os
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from dashboard.serving import access
from engine.runs.files import MANIFEST

FILE = "audits.sqlite"
URL = access.AUDIT_URL
"""Environment variable: any SQLAlchemy URL of SQLite or PostgreSQL, in place of the file beside the runs."""

VERDICTS = {
    "current": "follows current",
    "target": "follows target",
    "neither": "follows neither",
    "undecidable": "undecidable",
}
NO_PREVIOUS = "0" * 64
"""The first record's `previous`."""
LONGEST_COMMENT, LONGEST_NAME = 4_000, 80


class AuditError(Exception):
    """The log can't be read or written, or refuses a record; one line that says what and why, free of passwords."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What a page hands in. Numbers are in nats; what was shown is kept as JSON, so that a record stands alone."""

    kind: str
    """prediction, verdict, or undo."""
    reviewer: str
    run: str
    run_hash: str
    """`data.content_hash` of the run that was looked at."""
    checkpoint: str
    setting: str
    """JSON: whose explanation was judged."""
    example_id: str
    seed: int
    queue: str
    """JSON: what else the queue was drawn by."""
    shown: str
    """JSON: what the reviewer had seen when the record was made."""
    predicted: float | None = None
    """The Δ that a prediction says, nats."""
    verdict: str | None = None
    comment: str = ""
    refers_to: int | None = None
    """The prediction that a verdict belongs to, or the verdict that an undo takes back."""


@dataclass(frozen=True, kw_only=True)
class Record(Entry):
    """An entry with its place in the chain."""

    id: int
    created: str
    """UTC, ISO 8601."""
    shown_hash: str
    previous: str
    """Hash of the record before it."""
    hash: str


def _texts(*names: str) -> Iterator[sa.Column]:
    return (sa.Column(name, sa.Text, nullable=False) for name in names)


_METADATA = sa.MetaData()
_TABLE = sa.Table(
    "audit_records",
    _METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    *_texts("kind", "created", "reviewer", "run", "run_hash", "checkpoint", "setting", "example_id"),
    sa.Column("seed", sa.BigInteger, nullable=False),
    *_texts("queue", "shown", "shown_hash", "comment"),
    sa.Column("predicted", sa.Double),
    sa.Column("verdict", sa.Text),
    sa.Column("refers_to", sa.Integer),
    sa.Column("previous", sa.Text, nullable=False, unique=True),  # a chain can't fork
    sa.Column("hash", sa.Text, nullable=False, unique=True),
)
_FORBID_CHANGES = {
    "sqlite": tuple(
        f"CREATE TRIGGER audit_no_{verb.lower()} BEFORE {verb} ON audit_records"
        " BEGIN SELECT RAISE(ABORT, 'audit records are append-only'); END"
        for verb in ("UPDATE", "DELETE")
    ),
    "postgresql": (
        "CREATE FUNCTION audit_append_only() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'audit records are append-only'; END $$",
        "CREATE TRIGGER audit_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_records"
        " FOR EACH STATEMENT EXECUTE FUNCTION audit_append_only()",
    ),
}
"""Run once, when the table is made."""
_LOCK = {"sqlite": "BEGIN IMMEDIATE", "postgresql": "SELECT pg_advisory_xact_lock(7077001)"}
"""One writer at a time, other processes included; readers never wait."""


def address(directories: Sequence[str | Path]) -> str:
    """The log's URL: from the environment, else a file beside the runs. Raises AuditError where there is no place."""
    return os.environ.get(URL) or f"sqlite:///{file_beside(directories)}"


def file_beside(directories: Sequence[str | Path]) -> Path:
    """Where audits are kept by default: in the first of the dashboard's folders that has such a file, else in the
    first that can be written. For the folder of a run, its parent counts. Raises AuditError where there is none."""
    folders = [Path(d).resolve() for d in directories]
    folders = [f.parent if (f / MANIFEST).exists() else f for f in folders]
    for folder in folders:
        if (folder / FILE).is_symlink():
            raise AuditError(f"{folder / FILE}: is a link, and the folder may be anybody's: remove it, or set {URL}")
        if (folder / FILE).is_file():
            return folder / FILE
    for folder in folders:
        parent = next(p for p in (folder, *folder.parents) if p.exists())
        if parent.is_dir() and os.access(parent, os.W_OK):
            return folder / FILE
    raise AuditError(f"no folder to keep audits in: {', '.join(map(str, folders))} can't be written; set {URL}")


def reviewer_name(text: str) -> str:
    """A name as it is recorded: one line, single spaces, no control characters, cut to `LONGEST_NAME`."""
    shown = "".join(c for c in unicodedata.normalize("NFKC", text) if c.isspace() or c.isprintable())
    return _storable(" ".join(shown.split())[:LONGEST_NAME])


def canonical_json(value: Mapping[str, Any]) -> str:
    """JSON in one spelling, so that equal content has equal hashes. NaN becomes null."""
    clean = {k: None if isinstance(v, float) and v != v else v for k, v in value.items()}
    return json.dumps(clean, sort_keys=True, separators=(",", ":"), allow_nan=False)


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def record_hash(record: Mapping[str, Any]) -> str:
    """SHA-256 over all that a record holds, `previous` included, except its own hash."""
    return sha256(canonical_json({f.name: record[f.name] for f in fields(Record) if f.name != "hash"}))


def check(records: Sequence[Record]) -> str | None:
    """The first defect of the whole log in its order, in words; None where the chain is sound.

    A log whose last records were cut off is still sound: compare `last_hash` with one that was noted elsewhere.
    """
    previous = NO_PREVIOUS
    for place, record in enumerate(records, start=1):
        if record.id != place:
            return f"record {place} is missing: record {record.id} stands in its place"
        if record.previous != previous:
            return f"record {record.id} does not follow the one before it: one of them was replaced"
        if record.shown_hash != sha256(record.shown):
            return f"record {record.id}: what was shown does not fit its hash"
        if record.hash != record_hash(vars(record)):
            return f"record {record.id} was changed after it was written: its content does not fit its hash"
        previous = record.hash
    return None


def last_hash(records: Sequence[Record]) -> str:
    """The last record's hash, which stands for all before it."""
    return records[-1].hash if records else NO_PREVIOUS


def standing_verdicts(records: Sequence[Record]) -> list[Record]:
    """Verdicts that were not undone."""
    undone = {r.refers_to for r in records if r.kind == "undo"}
    return [r for r in records if r.kind == "verdict" and r.id not in undone]


class AuditLog:
    """Reads and appends. Opening one touches nothing; the table is made with the first record."""

    def __init__(self, url: str) -> None:
        with _as_audit_errors("the audit log"):
            parsed = sa.make_url(url)
            if parsed.drivername in ("postgres", "postgresql"):
                parsed = parsed.set(drivername="postgresql+psycopg")
            is_file = parsed.get_backend_name() == "sqlite"
            if parsed.get_backend_name() not in _LOCK or (is_file and not parsed.database):
                raise AuditError(f"{URL}: only files of SQLite and PostgreSQL servers are supported")
            self.name = parsed.render_as_string(hide_password=True)
            self._file = Path(str(parsed.database)) if is_file else None
            # In SQLite, transactions begin where we say so, by `BEGIN IMMEDIATE`.
            manual = {"timeout": 30, "isolation_level": None}
            options: dict[str, Any] = {"poolclass": sa.NullPool, "connect_args": manual} if is_file else {}
            self._engine = sa.create_engine(parsed, **(options or {"pool_pre_ping": True}))

    def records(self) -> list[Record]:
        """Every record, the first one first; none where there is no log yet."""
        if self._file is not None and not self._file.exists():
            return []
        with _as_audit_errors(self.name), self._engine.connect() as connection:
            if not sa.inspect(connection).has_table(_TABLE.name):
                return []
            rows = connection.execute(sa.select(_TABLE).order_by(_TABLE.c.id)).mappings()
            return [Record(**row) for row in rows]

    def append(self, entry: Entry) -> Record:
        """Add one record, whole or not at all. Raises AccessError, and AuditError if it is refused or can't be written.

        Where people sign in, a record carries the e-mail of whoever makes it, whatever name the entry has.
        Refused: a second prediction of what the reviewer has already seen, a verdict without a prediction, a second
        verdict while one stands, an undo of anything but one's own standing verdict.
        """
        values: dict[str, Any] = {k: _storable(v) if isinstance(v, str) else v for k, v in asdict(entry).items()}
        values["reviewer"] = access.require("audit").email or values["reviewer"]
        values["comment"] = values["comment"][:LONGEST_COMMENT]
        if entry.predicted is not None:
            values["predicted"] = float(entry.predicted) + 0.0  # no negative zero, which SQLite does not keep
        with _as_audit_errors(self.name):
            if self._file is not None:
                self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._engine.begin() as connection:
                connection.exec_driver_sql(_LOCK[self._engine.dialect.name])
                return self._write(connection, Entry(**values))

    def _write(self, connection: sa.Connection, entry: Entry) -> Record:
        if not sa.inspect(connection).has_table(_TABLE.name):
            _METADATA.create_all(connection)
            for statement in _FORBID_CHANGES[self._engine.dialect.name]:
                connection.exec_driver_sql(statement)
        same = [_TABLE.c[n] == getattr(entry, n) for n in ("reviewer", "run_hash", "checkpoint", "example_id")]
        _refuse(entry, [Record(**r) for r in connection.execute(sa.select(_TABLE).where(*same)).mappings()])
        newest = sa.select(_TABLE.c.id, _TABLE.c.hash).order_by(_TABLE.c.id.desc()).limit(1)
        last = connection.execute(newest).first()
        row = asdict(entry) | {"shown_hash": sha256(entry.shown)}
        row |= {"created": datetime.now(UTC).isoformat(timespec="milliseconds")}
        row |= {"id": last.id + 1 if last else 1, "previous": last.hash if last else NO_PREVIOUS}
        row |= {"hash": record_hash(row)}
        connection.execute(_TABLE.insert(), row)
        return Record(**row)

    def undo(self, verdict: Record) -> Record:
        """Take a verdict back by a record that says so."""
        values: dict[str, Any] = {f.name: getattr(verdict, f.name) for f in fields(Entry)}
        return self.append(
            Entry(**values | {"kind": "undo", "refers_to": verdict.id, "comment": "", "shown": canonical_json({})})
        )


def _refuse(entry: Entry, mine: Sequence[Record]) -> None:
    """Raises AuditError for an entry that the log must not hold. mine: this reviewer's records of the same example."""
    predictions = [r.id for r in mine if r.kind == "prediction"]
    verdicts = [r.id for r in standing_verdicts(mine) if r.setting == entry.setting]
    if entry.kind == "prediction":
        if entry.predicted is None or not abs(entry.predicted) < 1e6:
            raise AuditError("a prediction needs a number of nats")
        if predictions:
            raise AuditError(f"{entry.reviewer} has predicted this example before (record {predictions[0]})")
    elif entry.kind == "verdict":
        if entry.verdict not in VERDICTS:
            raise AuditError(f"there is no verdict {entry.verdict!r}")
        if entry.refers_to not in predictions:
            raise AuditError("a verdict comes after a prediction of the same example by the same reviewer")
        if verdicts:
            raise AuditError(f"{entry.reviewer} has a verdict on this example (record {verdicts[0]}): undo it")
    elif entry.refers_to not in verdicts:
        raise AuditError(f"record {entry.refers_to} is no standing verdict of {entry.reviewer}")


@contextmanager
def _as_audit_errors(where: str) -> Iterator[None]:
    """What goes wrong inside becomes an AuditError of one line that begins with `where`."""
    try:
        yield
    except (sa.exc.SQLAlchemyError, OSError, ImportError) as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines() or [type(error).__name__]
        raise AuditError(f"{where}: {reason[0]}") from None


def _storable(text: str) -> str:
    """Text that every database takes: no NUL, no lone surrogates."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
