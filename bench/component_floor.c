/* component_floor.c: the cost of calls of a component through the engine table alone. For bench/components.py, by ctypes. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include "wrt_component.h"

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

/* Nanoseconds for each of `count` calls of add(u32, u32), or of echo(string) with `text`; -1 where one fails. */
double floor_calls(const wrt_component_ops *ops, wrt_store *store, const wrt_component_function *function, const char *text,
                   size_t size, int count) {
  wrt_failure failure;
  double start = now();
  for (int i = 0; i < count; i++) {
    wrt_value args[2] = {{0}}, result = {0};
    if (text == NULL) {
      args[0].kind = args[1].kind = WRT_VALUE_U32;
      args[0].of.u32 = (uint32_t)i;
    } else {
      args[0].kind = WRT_VALUE_STRING;
      args[0].of.text = (wrt_text){.size = size, .data = (char *)text};
    }
    if (ops->call(store, function, args, text == NULL ? 2 : 1, &result, 1, &failure) != WRT_OK) return -1;
    if (text != NULL) ops->value_clear(&result);
  }
  return (now() - start) / count;
}

/* Nanoseconds for a call with a list of `size` numbers, which is there already; the best of `count`. */
double floor_list(const wrt_component_ops *ops, wrt_store *store, const wrt_component_function *function, int size,
                  int count) {
  wrt_failure failure;
  double best = 1e18;
  wrt_value *items = calloc((size_t)size, sizeof *items);
  for (int i = 0; i < size; i++) items[i] = (wrt_value){.kind = WRT_VALUE_U32, .of.u32 = (uint32_t)i};
  for (int i = 0; i < count; i++) {
    wrt_value argument = {.kind = WRT_VALUE_LIST}, result = {0};
    argument.of.list = (wrt_values){.size = (size_t)size, .data = items};
    double start = now();
    if (ops->call(store, function, &argument, 1, &result, 1, &failure) != WRT_OK) return -1;
    double took = now() - start;
    if (took < best) best = took;
  }
  free(items);
  return best;
}

static int increment(void *env, void *host, wrt_value *args, size_t arg_count, wrt_value *results, size_t result_count) {
  (void)env, (void)host, (void)arg_count, (void)result_count;
  results[0] = (wrt_value){.kind = WRT_VALUE_U32, .of.u32 = args[0].of.u32 + 1};
  return WRT_OK;
}

/* An instance whose host function is in C; false where something fails. */
bool floor_instantiate(const wrt_component_ops *ops, wrt_engine *engine, wrt_store *store, wrt_component *component,
                       wrt_component_instance *out) {
  wrt_failure failure;
  wrt_linker *linker;
  wrt_linker_scope *scope;
  if (ops->linker_new(engine, &linker, &failure) != WRT_OK) return false;
  if (ops->scope_new(linker, NULL, 0, &scope, &failure) != WRT_OK) return false;
  bool defined = ops->define_function(scope, "inc", 3, increment, NULL, &failure) == WRT_OK;
  ops->scope_delete(scope);
  return defined && ops->instantiate(store, linker, component, out, &failure) == WRT_OK;
}

/* Nanoseconds for each call of a host function, of `count` that one call of the guest's `loop` makes. */
double floor_loop(const wrt_component_ops *ops, wrt_store *store, const wrt_component_function *function, int count) {
  wrt_failure failure;
  wrt_value argument = {.kind = WRT_VALUE_U32, .of.u32 = (uint32_t)count}, result = {0};
  double start = now();
  if (ops->call(store, function, &argument, 1, &result, 1, &failure) != WRT_OK) return -1;
  return (now() - start) / count;
}
