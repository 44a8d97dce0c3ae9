"""The fixture `opened`, for the tests of every page."""

from tests.dashboard.app import opened

__all__ = ["opened"]
