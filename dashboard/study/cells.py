"""The results of a study (`coupling study`): its folder, its finished cells, and their means over seeds. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
from pyarrow import ArrowException

from engine.runs.store import RunError
from engine.studies.over_seeds import counted, over_seeds, with_ends

FILE = "metrics.parquet"
SEEDS = "seed-*.parquet"
"""What a study over seeds writes on its way: one file for each seed that is done."""
KEYS = ["task", "world", "setting", "explainer", "regime"]
"""What the seeds of a study have in common."""
NEEDED = {"seed", "step", "split", "control", "explainer", "regime", "metric", "chosen", "self", "gap"}
NUMBERS = {"self": "Self", "gap": "Gap", "unseen": "Unseen"}
CLAIMS = ("coupling", "unseen", "outputs")


def studies(folders: Iterable[Path | str]) -> dict[str, Path]:
    """Name → folder of every study, at most three folders below `folders`. A run has a manifest; a study has none."""
    found = {}
    for root in map(Path, folders):
        for pattern in (f"{'*/' * depth}{name}" for depth in range(4) for name in (FILE, SEEDS)):
            for file in sorted(root.glob(pattern)):
                if not (file.parent / "run.json").exists() and not any(p.startswith(".") for p in file.parts):
                    found[str(file.parent.relative_to(root))] = file.parent
    return found


def read(folder: Path) -> pd.DataFrame:
    """Rows of a study's metrics, or of its finished seeds. Raises RunError for files that are none."""
    files = [folder / FILE] if (folder / FILE).exists() else sorted(folder.glob(SEEDS))
    tables = []
    for file in files:
        try:
            tables.append(pq.ParquetFile(file).read().to_pandas())
        except (OSError, ArrowException) as error:
            raise RunError(f"{file}: can't be read as Parquet: run the study again ({error})") from error
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
    if missing := sorted(NEEDED - set(table.columns)):
        raise RunError(f"{folder}: is no study: it lacks the columns {', '.join(missing)}")
    if "setting" not in table and "run" in table:  # a study over seeds names its runs
        table = table.rename(columns={"run": "setting"})
    table = table.reindex(columns=[*table.columns, *(name for name in KEYS if name not in table)])
    if "cell" not in table:
        table["cell"] = table[["task", "world", "setting", "seed"]].astype(str).agg("--".join, axis=1)
    return table


def last_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The chosen row of each finished cell × explainer × regime on held-out groups, at its last checkpoint."""
    rows = table[table["control"].isna() & table["chosen"].fillna(False).astype(bool)]
    rows = rows[(rows["split"] == "test_heldout") & rows["metric"].isin(["exact_match", "pearson"])]
    rows = rows[(rows["explainer"] != "verbal") | (rows["metric"] == "exact_match")]
    if "noise_kind" in rows:
        rows = rows[(rows["explainer"] == "verbal") | (rows["noise_kind"].fillna("none") == "none")]
    rows = rows.sort_values("step", kind="stable")
    return rows.drop_duplicates(["cell", "explainer", "regime"], keep="last").sort_index()


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """One row for each setting: `name`, `seeds`, `missing` (seeds that other settings have), random-effects means over
    seeds with their intervals, verdicts counted, and the mean power of each claim. rows: of `last_rows`."""
    most, out = rows["seed"].nunique(), []
    for key, own in rows.groupby(KEYS, sort=False, dropna=False):
        row: dict[str, Any] = {"name": name_of(own.iloc[0]), "seeds": own["seed"].nunique()}
        row["missing"] = most - row["seeds"]
        for column in NUMBERS:
            row |= with_ends(column, over_seeds(own, column))
        for claim in CLAIMS:
            judged = own.reindex(columns=[f"verdict_{claim}", f"power_{claim}"])
            row[f"verdict_{claim}"] = counted(judged[f"verdict_{claim}"].dropna())
            row[f"power_{claim}"] = judged[f"power_{claim}"].astype(float).mean()
        out.append(dict(zip(KEYS, key, strict=True)) | row)
    return pd.DataFrame(out)


def name_of(row: pd.Series) -> str:
    """`refusal · independent · drift beside the labels · verbal, online`, without what the study does not name."""
    parts = [row[name] for name in ("task", "world", "setting") if pd.notna(row[name]) and row[name]]
    return " · ".join([*map(str, parts), f"{row['explainer']}, {row['regime']}"])
