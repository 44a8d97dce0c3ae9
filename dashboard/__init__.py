"""The dashboard: reads finished and unfinished runs, and never loads a model to show one."""
