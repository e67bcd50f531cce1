"""The one error of this package: data that is not the protocol it was taken for.

Must never be raised for data that merely stops early where something was already understood.
"""


class Malformed(ValueError):  # noqa: N818 - it names what the data is
    """The data is not, or no longer, a message of the protocol; the text says what was expected."""
