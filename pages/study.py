"""A study: the same run over seeds and settings, as a map with verdicts and power."""

import streamlit as st

from dashboard.study.view import page

st.title("Study", anchor=False)
page()
