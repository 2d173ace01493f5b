// OR_FAIL: for what a test does in a process of its own, which ends with status 0 when all was as
// it should be.
#pragma once

#include <unistd.h>

#include <cstdio>

#define OR_FAIL(condition)                                         \
  do {                                                             \
    if (!(condition)) {                                            \
      std::fprintf(stderr, "line %d: %s\n", __LINE__, #condition); \
      _exit(1);                                                    \
    }                                                              \
  } while (false)
