"""The report: what was found, made readable, masked and safe to open. It decides nothing about traffic."""
