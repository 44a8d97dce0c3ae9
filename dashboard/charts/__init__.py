"""DataFrame in, Plotly figure out. Pure: nothing here reads a run or calls Streamlit."""

from dashboard.charts.noise import noise_curve
from dashboard.charts.overview import Estimate, example_effects, ladder, prompt_features
from dashboard.charts.points import QUADRANTS, Limits, quadrants, scatter
from dashboard.charts.style import config, interval, number, safe, stamp
from dashboard.charts.trajectory import Series, example_moves, heatmap, trajectory

__all__ = [
    "QUADRANTS",
    "Estimate",
    "Limits",
    "Series",
    "config",
    "example_effects",
    "example_moves",
    "heatmap",
    "interval",
    "ladder",
    "noise_curve",
    "number",
    "prompt_features",
    "quadrants",
    "safe",
    "scatter",
    "stamp",
    "trajectory",
]
