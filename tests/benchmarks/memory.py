"""Peak memory while behavior and hidden states of many examples are measured and written to a run.

Only a shard of prompts is held at once, so the peak must not grow with the number of examples. Each side is a
process of its own: `python -m tests.benchmarks.memory EXAMPLES` prints its peak in MB.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.benchmarks.side_by_side import row

FEW, MANY = 10_000, 20_000
EDITS = 2


def measure(examples: int) -> float:
    """MB of resident memory at the peak, for this number of examples with two layers at two positions of x and x'."""
    from engine.config import CheckpointSpec, ExplainerSpec, HiddenSpec, RunSpec, TaskSpec
    from engine.measuring import stage as measuring
    from engine.progress import silent
    from engine.records import Example, examples_table
    from engine.runs.observed import Observed
    from engine.runs.store import Run
    from engine.workers.local import HERE
    from tests.tiny_models import TEXT, build

    half = TEXT.split(". ")
    rows = (
        Example(
            task="from_file",
            prompt=f"Question {i // EDITS}: {half[i // EDITS % len(half)]}. {half[0]}. Is it so?",
            edited=f"Question {i // EDITS}: {half[i % 2]}. Is it so?",
            edit=f"replace_{i % EDITS}",
            spans=((9, 12),),
            edited_spans=((9, 12),),
            answer_a=" yes",
            answer_b=" no",
            group=str(i // EDITS),
            split="train",
        )
        for i in range(examples)
    )
    with tempfile.TemporaryDirectory() as folder:
        model = CheckpointSpec(name="gpt2--tiny", path=str(build("gpt2", Path(folder) / "model")))
        spec = RunSpec(
            name="memory",
            task=TaskSpec(name="from_file", path="-"),
            checkpoints=(model,),
            hidden=HiddenSpec(layers=(0, -1), positions=("last", "span"), keep="all"),
            explainers=ExplainerSpec(modes=("direct", "difference")),
            batch_size=32,
        )
        record = Run.create(Path(folder) / "run", spec, provenance={})
        record.write_table("examples.parquet", examples_table(rows))
        measuring.measure(model, Observed(record, spec), silent, HERE)
        record.close()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def rows() -> list[dict[str, Any]]:
    """Peak for few and for many examples."""
    peaks = []
    for examples in (FEW, MANY):
        command = [sys.executable, "-m", "tests.benchmarks.memory", str(examples)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            said = done.stderr.strip().splitlines()
            raise RuntimeError(f"{examples:,} examples: exit code {done.returncode}: {said[-1] if said else 'killed?'}")
        peaks.append([float(done.stdout.split()[-1])])
    name = f"peak memory, {MANY:,} examples (ours) against {FEW:,} (theirs)"
    note = "resident, with the interpreter and torch; hidden states of two layers written to the run"
    return [row(name, peaks[1], peaks[0], 0.9, limit=1.0, note=note, unit="MB", threads=None)]


if __name__ == "__main__":
    print(measure(int(sys.argv[1])))
