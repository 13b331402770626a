"""For all tests: one thread of torch each, since their tensors are small and threads would only wait for each other."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
