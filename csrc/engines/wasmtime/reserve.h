/* reserve.h: memory mappings held in reserve for the host. For this folder only. */
#ifndef WRT_WASMTIME_RESERVE_H
#define WRT_WASMTIME_RESERVE_H

#include <stdbool.h>
#include <stddef.h>

#pragma GCC visibility push(hidden)

/* Reserves mappings, if none are reserved. This may fail silently; the caller owns nothing. */
void wt_reserve_hold(void);
/* Gives them back if the text of a failure says that the system refused memory; the text is borrowed. */
void wt_reserve_release(const char *message, size_t size);

#pragma GCC visibility pop

#endif
