"""Tests of opening what was encrypted."""
