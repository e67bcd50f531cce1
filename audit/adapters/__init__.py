"""Endpoint knowledge: adapters and search engines, as data, and the loaders that check it."""

from audit.adapters.engines import Engine, Engines, Search, search_engines
from audit.adapters.loader import AdapterError, Adapters, load
from audit.adapters.model import Adapter, Decode, FieldRole, Known

__all__ = [
    "Adapter",
    "AdapterError",
    "Adapters",
    "Decode",
    "Engine",
    "Engines",
    "FieldRole",
    "Known",
    "Search",
    "load",
    "search_engines",
]
