"""Packet captures: files → packets → flows → streams → protocols → records.

Each module is one step; imports run from `reading` down to `batch`. Headers and accounting are columns of
whole batches; only payloads that can tell something are read one by one.
"""
