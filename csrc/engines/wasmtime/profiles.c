/* profiles.c: profiles by Wasmtime's guest profiler, which walks the stack of a store and keeps equal stacks only once. */
#include "profiles.h"

#include <stdio.h>

#include "failures.h"

enum { INTERVAL_NS = 5 * 1000 * 1000 }; /* the ticker's interval; only written into the profile */

struct wrt_profile {
  wasmtime_guestprofiler_t *native; /* owned; NULL once finished */
};

int wt_profile_new(wrt_engine *engine, wrt_module *const *modules, size_t count, wrt_profile **out,
                   wrt_failure *failure) {
  enum { DIGITS = 21 };
  static char text[] = "guest";
  wasm_byte_vec title = {sizeof text - 1, text};
  wrt_profile *profile = malloc(sizeof *profile);
  wasmtime_guestprofiler_modules *given = calloc(count + 1, sizeof *given);
  wasm_byte_vec *names = calloc(count + 1, sizeof *names + DIGITS);
  if (profile == NULL || given == NULL || names == NULL) {
    free(profile);
    free(given);
    free(names);
    return wt_fail_memory(failure);
  }
  for (size_t i = 0; i < count; i++) {
    names[i].data = (char *)&names[count + 1] + i * DIGITS;
    names[i].size = (size_t)snprintf(names[i].data, DIGITS, "%zu", i);
    given[i] = (wasmtime_guestprofiler_modules){&names[i], (const wasmtime_module_t *)modules[i]};
  }
  profile->native = wt.wasmtime_guestprofiler_new(engine->engine, &title, INTERVAL_NS, given, count);
  free(given);
  free(names);
  *out = profile;
  return WRT_OK;
}

void wt_profile_sample(wrt_profile *profile, wrt_store *store) {
  wt.wasmtime_guestprofiler_sample(profile->native, store->store, 0);
}

int wt_profile_finish(wrt_profile *profile, wrt_bytes *out, wrt_failure *failure) {
  wasm_byte_vec text;
  wasmtime_guestprofiler_t *native = profile->native;
  profile->native = NULL;
  wasmtime_error_t *error = wt.wasmtime_guestprofiler_finish(native, &text); /* takes it */
  return error == NULL ? wt_give_bytes(&text, out, failure) : wt_fail_error(failure, WRT_ERROR, error);
}

void wt_profile_delete(wrt_profile *profile) {
  if (profile->native != NULL) wt.wasmtime_guestprofiler_delete(profile->native);
  free(profile);
}
