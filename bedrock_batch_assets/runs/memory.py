"""Memory that a process has freed, given back to the system: for processes that then wait for hours."""

import contextlib
import ctypes
import gc
import sys


def give_back_memory() -> None:
    """Return what was freed to the system, as far as Python, Arrow and the C library can be asked to.

    All three keep freed memory for later use. A run that has rendered 50,000 records needs none of it while it waits.
    """
    gc.collect()
    # pyarrow is not imported for this: a process that has not used it has nothing to give back.
    if pyarrow := sys.modules.get("pyarrow"):
        pyarrow.default_memory_pool().release_unused()
    # glibc alone has it (malloc_trim(3)).
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
