"""Sans-IO parsers of wire formats: bytes in, small immutable results out.

No file, clock or log here. Whole messages are parsed by functions, streams by objects with
`feed(data)`, `gap(size)` for bytes that the capture lost, and `finish()` at the end. Data that is not
the protocol raises `malformed.Malformed` and nothing else; every buffer and loop is bounded by a
constant of its module. Bytes are whatever a stranger sent.
"""
