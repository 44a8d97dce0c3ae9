"""DataFrame in, Plotly figure out. Pure: nothing here reads a run or calls Streamlit."""

from dashboard.charts.curves import Series, heatmap, noise_curve, trajectory
from dashboard.charts.examples import example_effects, example_moves, prompt_features
from dashboard.charts.overview import LadderRow, ladder
from dashboard.charts.points import QUADRANTS, Limits, quadrants, scatter
from dashboard.charts.style import interval
from dashboard.text import number

__all__ = [
    "QUADRANTS",
    "LadderRow",
    "Limits",
    "Series",
    "example_effects",
    "example_moves",
    "heatmap",
    "interval",
    "ladder",
    "noise_curve",
    "number",
    "prompt_features",
    "quadrants",
    "scatter",
    "trajectory",
]
