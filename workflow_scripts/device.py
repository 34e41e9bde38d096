"""Where torch computes, and how: the fastest device, one CPU thread, repeatable kernels."""

import torch

# The order of sums depends on the number of threads, and results must not: parallelism comes from
# jobs and shards instead.
CPU_THREADS = 1


def choose_device() -> torch.device:
    """A GPU if there is one, else the CPU with a fixed number of threads."""
    if torch.cuda.is_available():
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
        return torch.device("cuda")
    torch.set_num_threads(CPU_THREADS)
    return torch.device("cpu")
