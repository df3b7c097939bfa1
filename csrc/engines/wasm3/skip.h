/* skip.h: passing over code that is never reached, so that wasm3 need not compile it. For this folder only. */
#ifndef WRT_WASM3_SKIP_H
#define WRT_WASM3_SKIP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

/* The end of the code from `at` that is never reached: called by wasm3, see pywasmrt/_shim/wasm3_changes.py. */
const uint8_t *wrt_wasm3_skip(const uint8_t *at, const uint8_t *end);

#pragma GCC visibility pop

#endif
