"""Endpoint knowledge: adapters and search engines, as data, and the loaders that check it."""

from audit.adapters.engines import Engine, Engines, Search, search_engines

__all__ = ["Engine", "Engines", "Search", "search_engines"]
