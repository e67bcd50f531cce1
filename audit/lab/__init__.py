"""Drivers that carry out a plan on a browser or phone (to come)."""
