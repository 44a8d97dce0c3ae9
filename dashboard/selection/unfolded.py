"""What is folded is not computed, and not sent: a part of a page asks here whether its reader has unfolded it."""

from __future__ import annotations

from streamlit.elements.lib.mutable_expander_container import ExpanderContainer
from streamlit.elements.lib.mutable_popover_container import PopoverContainer


def is_open(part: ExpanderContainer | PopoverContainer) -> bool:
    """Of a part that was made with `on_change="rerun"`."""
    return bool(part.open)
