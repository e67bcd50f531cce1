"""Tests of the packet captures: files, streams, flows, and a comparison with another analyser."""
