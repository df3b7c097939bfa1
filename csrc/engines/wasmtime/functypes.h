/* functypes.h: types of functions in Wasmtime's form, which takes longer to make than a function of that type. For this folder
 * only. */
#ifndef WRT_WASMTIME_FUNCTYPES_H
#define WRT_WASMTIME_FUNCTYPES_H

#include "objects.h"

#pragma GCC visibility push(hidden)

/* The type with these params and then results, made or taken from the engine. The caller alone has it until giving it back.
 * NULL without memory. From any thread. */
wt_functype *wt_functype_take(wrt_engine *engine, const uint8_t *types, size_t param_count, size_t result_count);
/* Gives a type back, for the next caller that wants it. */
void wt_functype_give(wrt_engine *engine, wt_functype *type);
/* Frees the types that the engine keeps, when the engine is freed. */
void wt_functypes_clear(wrt_engine *engine);

#pragma GCC visibility pop

#endif
