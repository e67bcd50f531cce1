"""Consumer privacy audit toolkit: which browsing and search data left a device, to whom, in which mode."""

__version__ = "0.1.0"
