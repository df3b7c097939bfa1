/* profiles.h: the stacks of guests, sampled. For this folder only.
 *
 * Each is the operation of the same name in the engine table; wrt.h has its contract. */
#ifndef WRT_WASMTIME_PROFILES_H
#define WRT_WASMTIME_PROFILES_H

#include "objects.h"

#pragma GCC visibility push(hidden)

int wt_profile_new(wrt_engine *engine, wrt_module *const *modules, size_t count, wrt_profile **out, wrt_failure *failure);
void wt_profile_sample(wrt_profile *profile, wrt_store *store);
int wt_profile_finish(wrt_profile *profile, wrt_bytes *out, wrt_failure *failure);
void wt_profile_delete(wrt_profile *profile);

#pragma GCC visibility pop

#endif
