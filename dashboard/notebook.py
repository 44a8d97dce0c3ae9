"""A run as data frames and figures, for notebooks: `engine.open_run` and `engine.run` return it."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go

logging.getLogger("streamlit").setLevel(logging.ERROR)  # its caches warn outside a page

from dashboard.charts import style  # noqa: E402
from dashboard.charts.overview import among_controls  # noqa: E402
from dashboard.reading import data  # noqa: E402
from dashboard.reading.headline import headline  # noqa: E402
from engine.config import InputError, RunSpec  # noqa: E402
from engine.runs.store import Run  # noqa: E402

FIGURES = ("overview", "explanations")


class OpenRun:
    """A finished run. Frames have the columns of the dashboard's pages; f and effects are in nats."""

    def __init__(self, path: Path | str):
        """Raises RunError (an InputError) unless the folder is a sound, finished run."""
        self.path = Path(path).resolve()
        self._options = data.options(self.path)

    def __repr__(self) -> str:
        return f"OpenRun({str(self.path)!r}, checkpoints: {', '.join(self.checkpoints)})"

    @property
    def spec(self) -> RunSpec:
        """The resolved spec."""
        return data.spec(self.path)

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """Names of the current checkpoints, in the order of training."""
        return self._options.checkpoints

    @property
    def examples(self) -> pd.DataFrame:
        """Every example with its texts: the columns of examples.parquet."""
        return Run.open(self.path).read_table("examples.parquet").to_pandas()

    @property
    def metrics(self) -> pd.DataFrame:
        """Every row of metrics.parquet; `control` is null for the explainers themselves."""
        return Run.open(self.path).read_table("metrics.parquet").to_pandas()

    def behavior(self, checkpoint: str) -> pd.DataFrame:
        """Each example's f(x), f(x′) and effect, at the target and at a checkpoint."""
        return data.behavior(self.path, self._known(checkpoint))

    def explanations(
        self,
        checkpoint: str | None = None,
        explainer: str | None = None,
        regime: str = "frozen",
        *,
        noise_kind: str = "none",
        noise: float = 0.0,
        split: str | None = None,
        edit: str | None = None,
    ) -> pd.DataFrame:
        """An explainer's output for each example: the columns of `behavior`, and explanation, text, layer, error.

        The default is the last checkpoint and the run's first explainer. Empty where the run kept no such setting.
        """
        name = self._known(checkpoint or self.checkpoints[-1])
        setting = data.Setting(name, explainer or self._options.explainers[0], regime, noise_kind, noise)
        return data.explanations(self.path, setting, split, edit)

    def figure(
        self,
        name: str = "overview",
        *,
        measure: str = "self",
        checkpoint: str | None = None,
        explainer: str | None = None,
        regime: str = "frozen",
        split: str = "test_heldout",
    ) -> go.Figure:
        """A figure of the pages. Raises InputError for a name that is not in `FIGURES`.

        overview: `measure` over checkpoints, beside its controls. explanations: explanation against the current effect.
        """
        explainer = explainer or self._options.explainers[0]
        if name == "overview":
            rows, controls = headline(self.path, self.checkpoints, explainer, regime, split)
            if rows.empty:
                raise InputError(f"{self.path.name}: no chosen setting of {explainer}, {regime} on {split}")
            return among_controls(rows, controls, measure, explainer, regime)
        if name == "explanations":
            frame = self.explanations(checkpoint, explainer, regime, split=split)
            x, y = frame["effect_current"].to_numpy(), frame["explanation"].to_numpy()
            figure = go.Figure(go.Scatter(x=x, y=y, mode="markers", customdata=frame[["example_id"]]))
            figure.update_layout(xaxis_title="current effect Δ, nats", yaxis_title="explanation, nats")
            return style.finish(figure, height=450, legend=False)
        raise InputError(f"no figure {name!r}: choose one of {', '.join(FIGURES)}")

    def _known(self, checkpoint: str) -> str:
        if checkpoint not in self.checkpoints:
            raise InputError(f"{self}: has no checkpoint {checkpoint!r}")
        return checkpoint
