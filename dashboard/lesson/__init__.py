"""The lesson behind the page Learn: which runs tell it, what they measure, what may be said of that, and its steps."""
