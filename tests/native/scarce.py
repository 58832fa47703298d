"""A part of native/ whose allocations fail when a test says so."""

from __future__ import annotations

SCARCE_CDEF = """
    extern long allocations_left;
    extern long refused;
"""

_SCARCE = """
#include <stdlib.h>
long allocations_left = -1; /* below 0: no end of them */
long refused;

static int allowed(void)
{
    if (allocations_left == 0) {
        refused++;
        return 0;
    }
    allocations_left -= allocations_left > 0;
    return 1;
}
#define malloc(size) (allowed() ? malloc(size) : NULL)
#define calloc(count, size) (allowed() ? calloc(count, size) : NULL)
#define realloc(old, size) (allowed() ? realloc(old, size) : NULL)
#define aligned_alloc(unit, size) (allowed() ? aligned_alloc(unit, size) : NULL)
"""


def scarce(file: str) -> str:
    """The C source of ``file``, with :data:`SCARCE_CDEF` set by tests."""
    return f'{_SCARCE}#include "{file}"\n'
