"""Pieces of work: whatever they are, and whoever does them, the numbers are the same bits; and what a dry run says."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine import pipeline
from engine.config import InputError
from engine.measuring import stage as measuring
from engine.measuring.forecast import forecast
from engine.measuring.piece import Asked, Measuring
from engine.model import batch_size, counterfactuals, forward
from engine.runs import pieces
from engine.runs.observed import Observed
from engine.runs.pieces import Cutter, Layout
from engine.runs.store import Run
from engine.spec_files import load_spec, relative_paths
from engine.workers.local import HERE, Draws, Processes
from tests.engine.test_pipeline import call
from tests.engine.verbal.test_stage import FIRST_SEED
from tests.tiny_models import build
from tests.tiny_run import examples, write_spec

TOKENS = 12
"""Of a batch: small, so that there are many blocks."""
NAME = "gpt2--step-0000"


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    hidden = {"layers": [1, -1], "positions": ["last", "span"], "keep": "all"}
    folder = tmp_path_factory.mktemp("measuring")
    path = write_spec(folder, hidden=hidden, batch_size=None, explainers={"kinds": ["ridge"], "folds": 2})
    return load_spec(path)


@pytest.fixture
def small(monkeypatch):
    """Batches of few tokens, blocks of few prompts, and shards of 16."""
    monkeypatch.setattr(batch_size, "tokens_a_batch", lambda model: TOKENS)
    monkeypatch.setattr(pieces, "SHARD", 16)
    monkeypatch.setattr(pieces, "MOST_SHARDS", 5)


def measured(spec, out: Path, progress=lambda *_: None, workers=HERE) -> Run:
    with Run.create(out, relative_paths(spec, out), provenance={}) as record:
        if not record.has("examples.parquet"):
            record.write_table("examples.parquet", pipeline.load_examples(spec))
        measuring.measure(spec.checkpoints[0], Observed(record, spec), progress, workers)
    return record


@pytest.fixture(scope="module")
def layout_and_work(spec, tmp_path_factory):
    work = Measuring.of(spec, spec.checkpoints[0], tmp_path_factory.mktemp("pieces"), spec.chat)
    work.examples = pipeline.load_examples(spec)
    work.examples_too = True
    work.begin()
    return Layout.of(work.examples, TOKENS), work


@given(cuts=st.sets(st.integers(1, 17)), seed=st.integers(0, 99))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_cut_into_pieces_gives_the_same_bits(layout_and_work, cuts, seed):
    layout, work = layout_and_work
    assert len(layout.blocks) > 12
    whole, _ = work.measured(Asked(layout.piece(layout.blocks), None, ""))
    edges = [0, *sorted(c for c in cuts if c < len(layout.blocks) - 1), len(layout.blocks) - 1]
    parts = [layout.piece(layout.blocks[a : b + 1]) for a, b in pairwise(edges)]
    found = {
        n: work.measured(Asked(parts[n], None, ""))[0] for n in np.random.default_rng(seed).permutation(len(parts))
    }
    for key, values in whole.items():
        assert np.array_equal(values, np.concatenate([found[n][key] for n in range(len(parts))])), key


@given(
    prompts=st.lists(st.integers(1, 5), min_size=1, max_size=60),
    tokens=st.integers(1, 40),
    head=st.integers(0, 7),
    rates=st.lists(st.floats(1, 1e4), min_size=1, max_size=5),
)
@settings(deadline=None, max_examples=50)
def test_pieces_cover_all_rows_once_and_never_cut_a_prompt(prompts, tokens, head, rates):
    ids = np.repeat(np.arange(len(prompts)), prompts)
    texts = [f"prompt {i} " * (i % 7 + 1) for i in ids]
    layout = Layout.of(pa.table({"prompt_id": ids, "prompt": texts, "edited": texts}), tokens, head)
    assert set(layout.shards) <= set(layout.blocks)
    assert all(ids[row - 1] != ids[row] for row in layout.blocks[1:-1])
    cutter, made = Cutter(layout, layout.left([])), []
    for piece, rate in zip(cutter, rates * len(ids), strict=False):
        made.append(piece)
        cutter.rate = rate
    assert [piece.start for piece in made] == [0, *(piece.stop for piece in made[:-1])]
    assert made[-1].stop == len(ids)
    assert len(made[0].bounds) == 2, "the first is one block: it tells the rate"
    for piece in made:
        assert layout.shards[piece.shard] <= piece.start < piece.stop <= layout.shards[piece.shard + 1]
    half = [(piece.start, piece.stop) for piece in made[::2]]
    left = [row for start, stop in layout.left(half) for row in range(start, stop)]
    assert sorted(left + [row for start, stop in half for row in range(start, stop)]) == list(range(len(ids)))


def test_a_block_is_many_times_as_long_as_the_head_and_counts_it_once():
    head, n = "Two examples first. " * 30, 100
    texts = {name: [f"{head}{name} {i:03d}" for i in range(n)] for name in ("prompt", "edited")}
    table = pa.table({"prompt_id": np.arange(n)} | texts)
    assert pieces.head_of(table) == len(head) and pieces.longest_of(table) == len(head) + len("prompt 000")
    few, many = Layout.of(table, 1, len(head)), Layout.of(table, 1)
    assert len(many.blocks) == n + 1, "a prompt fills a block"
    own = len("prompt 000" + "edited 000")
    assert few.amount(0, n) == n * own + len(head) * (len(few.blocks) - 1)
    assert all(own * (b - a) > 0.9 * pieces.HEADS_A_BLOCK * len(head) for a, b in pairwise(few.blocks[:-1]))
    other = table.set_column(2, "edited", pa.array([*texts["edited"][1:], "Three"]))
    assert pieces.head_of(other) == 1, "an edit within the head shortens it"


def test_few_shot_examples_are_computed_once_in_a_run_but_not_by_a_model_that_cannot_share(spec, tmp_path, monkeypatch):
    """Blocks of single prompts would compute them for each of these."""
    spec = spec.model_copy(update={"hidden": spec.hidden.model_copy(update={"positions": ("last",)})})
    monkeypatch.setattr(batch_size, "tokens_a_batch", lambda model: TOKENS)
    table, shots = pipeline.load_examples(spec), "Dana is a doctor. She thinks it is so. The answer is yes. " * 2
    for column in ("prompt", "edited"):
        text = pa.array([shots + text for text in table[column].to_pylist()], table.schema.field(column).type)
        table = table.set_column(table.schema.get_field_index(column), column, text)
    monkeypatch.setattr(pipeline, "load_examples", lambda _: table)
    run = measured(spec, tmp_path / "run")
    notes = run.manifest["notes"]
    assert notes["head"][NAME] >= len(shots) and notes["forward_path"][NAME] == "shared"
    with monkeypatch.context() as patch:
        patch.setattr(counterfactuals, "shared_plan", partial(counterfactuals.shared_plan, across=False))
        apart = measured(spec, tmp_path / "apart")
    assert apart.manifest["notes"]["tokens"][NAME] > 1.5 * notes["tokens"][NAME]
    one, other = (r.read_table(f"behavior/{NAME}.parquet").to_pandas() for r in (run, apart))
    for column in ("f", "f_edited"):
        np.testing.assert_allclose(one[column], other[column], atol=1e-5)
    monkeypatch.setattr(forward, "can_share", lambda *_, **__: "a window")
    assert measured(spec, tmp_path / "unshared").manifest["notes"]["head"] == {NAME: 0}


def test_a_run_of_many_pieces_that_was_stopped_equals_one_of_few(spec, small, tmp_path, monkeypatch):
    told: list[tuple[int, int]] = []
    few = measured(spec, tmp_path / "few", lambda _, done, total: told.append((done, total)))
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1][0] == told[-1][1] == few.manifest["notes"]["tokens"][NAME]

    monkeypatch.setattr(pieces, "SECONDS", 0.0)
    real, left = measuring._merge, [0]

    def merge(record: Run, *rest: Any) -> None:
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        real(record, *rest)

    for after in (7, 9, 12):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            left[0] = after
            patch.setattr(measuring, "_merge", merge)
            measured(spec, tmp_path / "many")
    assert [part for part in Run.open(tmp_path / "many").parts if part.startswith("pieces/")]
    (tmp_path / "many" / "pieces" / NAME / "0000000000-0000000099.safetensors").write_bytes(b"of a killed process")
    many = measured(spec, tmp_path / "many")
    assert many.parts == few.parts
    assert many.manifest["notes"] == few.manifest["notes"]
    assert not (tmp_path / "many" / "pieces").exists()


def test_a_kill_loses_at_most_the_piece_in_work(spec, small, tmp_path, monkeypatch):
    """Stopped when a piece is written and not yet recorded, which is the latest moment at which it can be lost."""
    monkeypatch.setattr(pieces, "SECONDS", 0.0)
    begun, real = [], Measuring.do

    def do(work: Measuring, item: Asked | None, told: Any = None) -> Any:
        done = real(work, item, told)
        begun.extend([item.piece.bounds] if item else [])
        if len(begun) == 5:
            raise KeyboardInterrupt
        return done

    monkeypatch.setattr(Measuring, "do", do)
    with pytest.raises(KeyboardInterrupt):
        measured(spec, tmp_path / "run")
    before = set(begun)
    run = measured(spec, tmp_path / "run")
    layout = Layout.of(run.read_table("examples.parquet"), TOKENS, run.manifest["notes"]["head"][NAME])
    assert len(before) == 5 and len(layout.blocks) > 12
    assert len(begun) == (len(layout.blocks) - 1) + 1, "one block was measured twice"
    assert not [part for part in run.parts if part.startswith("pieces/")] and not (run.path / "pieces").exists()


def test_the_batch_size_follows_from_the_model_and_memory_alone(layout_and_work, monkeypatch):
    model = layout_and_work[1].loaded.model
    assert batch_size.tokens_a_batch(model) == batch_size.MOST_TOKENS
    assert batch_size.rows_a_batch(model, 100) == batch_size.MOST_TOKENS // 100
    assert batch_size.rows_a_batch(model, 10**6) == 1
    monkeypatch.setattr(batch_size, "parameters_of", lambda _: 10**9)
    assert batch_size.tokens_a_batch(model) == batch_size.LEAST_TOKENS["cpu"], "a large model is busy with few tokens"
    monkeypatch.setattr(batch_size, "memory_of", lambda _: 2**22)
    assert batch_size.tokens_a_batch(model) < batch_size.LEAST_TOKENS["cpu"]
    monkeypatch.setattr(batch_size, "memory_of", lambda _: 0)
    assert batch_size.tokens_a_batch(model) == 1


def test_the_batch_size_does_not_depend_on_load(layout_and_work, monkeypatch):
    """Neither a clock, nor the memory that is free at the moment, nor the processor's load is asked for."""

    def asked(*_: object, **__: object) -> None:
        raise AssertionError("depends on the moment")

    model, wanted = layout_and_work[1].loaded.model, batch_size.tokens_a_batch(layout_and_work[1].loaded.model)
    for name in ("perf_counter", "monotonic", "time", "process_time"):
        monkeypatch.setattr(f"time.{name}", asked)
    monkeypatch.setattr(batch_size.psutil, "cpu_percent", asked)
    whole = batch_size.psutil.virtual_memory().total
    monkeypatch.setattr(batch_size.psutil, "virtual_memory", lambda: SimpleNamespace(total=whole))
    assert batch_size.tokens_a_batch(model) == wanted


def test_a_batch_that_memory_made_smaller_stays_small(spec, small, tmp_path, monkeypatch):
    real, calls = counterfactuals.forward, []

    def once_too_small(network, input_ids, *rest, **more):
        calls.append(len(input_ids))
        if len(calls) == 12:
            raise torch.OutOfMemoryError("out of memory")
        return real(network, input_ids, *rest, **more)

    monkeypatch.setattr(counterfactuals, "forward", once_too_small)
    record = measured(spec.model_copy(update={"batch_size": 8}), tmp_path / "run")
    notes = record.manifest["notes"]
    assert (notes["halved"], notes["batch_size"]) == ({NAME: 1}, {NAME: 4})


def test_every_path_is_recorded_and_only_the_first_block_is_tried(spec, small, tmp_path, monkeypatch):
    tried, real = [], counterfactuals._unsafe
    monkeypatch.setattr(counterfactuals, "_unsafe", lambda *given: tried.append(1) or real(*given))
    one = measured(spec, tmp_path / "one")
    assert one.manifest["notes"]["forward_path"] == {NAME: "shared"}
    assert len(tried) == 1
    asked, obstacle = iter(["", "a window", ""]), counterfactuals.can_share
    monkeypatch.setattr(
        counterfactuals, "can_share", lambda *a, **more: obstacle(*a, **more) if more else next(asked, "a window")
    )
    several = measured(spec, tmp_path / "several")
    assert several.manifest["notes"]["forward_path"] == {NAME: ["full: a window", "shared"]}


def test_processes_give_the_same_as_this_one_and_survive_a_kill(spec, tmp_path, monkeypatch):
    """One worker is killed while it holds an item; its items are done again by another."""
    crew_of = Processes(2)
    with crew_of.crew(Squares(str(tmp_path / "killed"))) as crew:
        assert dict(crew.each(range(6))) == {n: n * n for n in range(6)}
    assert (tmp_path / "killed").exists()


@dataclass
class Squares:
    """Squares numbers; the process that first gets a 3 kills itself."""

    mark: str

    def begin(self) -> None:
        pass

    def do(self, item: int, told: Any = None) -> int:
        if item == 3:
            try:
                os.close(os.open(self.mark, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return 9
            os.kill(os.getpid(), signal.SIGKILL)
        return item * item


def test_an_item_that_kills_every_worker_is_given_up():
    draws = Draws([7])
    item, tries = draws.next()
    while tries < 4:
        draws.back(item, tries)
        item, tries = draws.next()
    with pytest.raises(InputError, match="died 4 times"):
        draws.back(item, tries)


def test_a_dry_run_counts_all_stages_and_writes_nothing(spec, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in Path(spec.task.path).parent.rglob("*")}
    patched = spec.model_copy(update={"patching": pipeline.mechanism.PatchingSpec(edits=("delete_cue",), examples=5)})
    costs = forecast(patched, pipeline.load_examples(patched))
    assert [c.stage for c in costs] == pipeline.stages(patched)
    assert all(c.seconds is not None and c.seconds > 0 for c in costs)
    assert {path: path.stat().st_mtime_ns for path in Path(spec.task.path).parent.rglob("*")} == before
    assert not list(tmp_path.iterdir())
    run = measured(spec, tmp_path / "run")
    real, told = run.manifest["notes"]["tokens"][NAME], costs[0].tokens
    assert told is not None and 0.5 < told / real < 2
    hidden = sum(p["bytes"] for name, p in run.parts.items() if name.startswith("hidden/"))
    assert costs[0].disk is not None and 0.5 < costs[0].disk / hidden < 2


@pytest.mark.parametrize(
    "section",
    [
        {"post_training": {"dialogues": "dialogues.jsonl"}},
        {"post_training": {"dialogues": "dialogues.jsonl", "optimizer": "muon", "prompt_weight": 1}},
        {"post_training": {"dialogues": "dialogues.jsonl", "lora": {"rank": 2}}},
        {"verbal": {"lora": {"rank": 2, "save_as": "merged"}, "prompts_a_step": 8}},
    ],
    ids=["adamw", "muon", "an adapter", "explanations, merged"],
)
def test_a_dry_run_counts_training(tmp_path, section):
    lines = [{"prompt": e["prompt"], "answer": e["answer_a"]} for e in examples()]
    (tmp_path / "dialogues.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    steps = [{"name": f"gpt2--trained-{s}", "step": s, "trained": True} for s in (1, 2)]
    first = {"name": "gpt2--step-0000", "path": "first"}
    build("gpt2", tmp_path / "first", seed=FIRST_SEED)
    given = load_spec(write_spec(tmp_path, checkpoints=[first, *steps], **section))
    costs = {c.stage: c for c in forecast(given, pipeline.load_examples(given))}
    told = costs["post-training" if given.post_training else "explanation training"]
    seen = {}
    run = pipeline.make_run(given, tmp_path / "run", progress=lambda stage, done, _: seen.update({stage: done}))
    assert told.tokens and told.tokens_a_second and 0.5 < told.tokens / seen[told.stage] < 2
    disk = sum(f.stat().st_size for f in (run.path / "checkpoints").rglob("*.safetensors"))
    assert told.disk and 0.5 < told.disk / disk < 1.1


def test_the_command_prints_what_a_run_takes_and_makes_no_folder(spec, tmp_path, capsys):
    path = Path(spec.task.path).parent / "spec.yaml"
    code, out, _ = call(capsys, "run", path, "--out", tmp_path / "run", "--dry-run", "--quiet")
    assert code == 0
    header, _, *stages = [line for line in out.splitlines() if line.startswith("|")]
    assert header == "| stage | tokens | tokens a second | minutes | memory | disk |"
    assert [line.split(" | ")[0][2:] for line in stages] == [*pipeline.stages(spec), "all"]
    assert "nothing was written" in out and not list(tmp_path.iterdir())
