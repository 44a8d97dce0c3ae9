"""The Streamlit dashboard over runs on disk."""

from pathlib import Path

HERE = Path(__file__).resolve().parent
PAGES = HERE.parent / "pages"
"""The folder of page scripts: beside the package in a checkout, inside it where the package is installed."""
if not (PAGES / "overview.py").is_file():
    PAGES = HERE / "page_scripts"  # `pages` beside app.py would start Streamlit's older multipage mode
