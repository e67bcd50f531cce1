"""Packet captures: files → packets → flows → streams → protocols → records.

Each module is one step; imports run from `reading` down to `batch`. Headers and accounting are columns of
whole batches; only payloads that can tell something are read one by one.
"""

import os

# nothing here multiplies matrices, and the threads for it take longer to start than a small capture to read
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
