"""leakbench: how many wrapped values the audit finds, what it takes for one wrongly, and how fast it is.

Generated at run time from a seed: positive cases (coding × depth × channel × granularity × hash) with
encoders of their own, innocent traffic with near misses and decoys, bodies for speed and worst cases. The
named peer, privacy-flow-inspector 0.3.0, gets the same bodies in the same run. Nothing here reads or
knows how the audit decodes; what it fails to find is printed, not left out.
"""
