"""Findings and verdicts: what the sightings of all captures mean, and what could not be seen."""
