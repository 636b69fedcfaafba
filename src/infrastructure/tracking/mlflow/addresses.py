"""Addresses of tracking stores."""

from __future__ import annotations


def without_password(uri: str) -> str:
    """Return an address as it may be shown: without user and password."""
    scheme, separator, rest = uri.partition("://")
    return f"{scheme}://…@{rest.rpartition('@')[2]}" if separator and "@" in rest else uri
