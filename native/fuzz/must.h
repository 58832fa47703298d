/* Stops the fuzzer where something is not as it must be. */
#ifndef WGVX_FUZZ_MUST_H
#define WGVX_FUZZ_MUST_H

#include <stdio.h>

#define MUST(condition)                                                            \
    do {                                                                           \
        if (!(condition)) {                                                        \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            __builtin_trap();                                                      \
        }                                                                          \
    } while (0)

#endif
