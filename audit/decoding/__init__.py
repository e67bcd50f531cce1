"""Bytes to fields. One small module per family of codings, one `unfold`."""

from audit.decoding.coding import Bounds
from audit.decoding.unfold import Tree, may_hide, unfold

__all__ = ["Bounds", "Tree", "may_hide", "unfold"]
