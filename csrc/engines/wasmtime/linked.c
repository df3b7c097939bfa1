/* linked.c: modules linked once to functions of the host's, by Wasmtime's instance_pre.
 *
 * The functions belong to no store: Wasmtime shares them between all instances, and frees each when the linked module and the
 * last store that uses it are gone. So they find the store through their caller, and in the store their `env`.
 */
#include "linked.h"

#include "exceptions.h"
#include "externs.h"
#include "failures.h"
#include "functypes.h"

/* One function that instances of a linked module share; owned by Wasmtime. */
typedef struct linked_function {
  wrt_host_function function;
  size_t index; /* among the module's imports */
} linked_function;

static wasm_trap_t *call_linked(void *env, wasmtime_caller_t *caller, wasmtime_val_raw *slots, size_t count) {
  (void)count;
  const linked_function *self = env;
  wrt_store *store = wt.wasmtime_context_get_data(wt.wasmtime_caller_context(caller));
  int result = self->function(store->envs[self->index], (wrt_caller *)caller, (wrt_slot *)slots);
  return result == WRT_OK ? NULL : wt_unwind(store, result);
}

/* Defines the module's import number `index` in `linker`. */
static int define(wrt_engine *engine, wasmtime_linker_t *linker, const wrt_import *import, size_t index,
                  wrt_host_function function, wrt_failure *failure) {
  linked_function *self = malloc(sizeof *self);
  if (self == NULL) return wt_fail_memory(failure);
  *self = (linked_function){.function = function, .index = index};
  wt_functype *type = wt_functype_take(engine, import->types, import->param_count, import->result_count);
  if (type == NULL) {
    free(self);
    return wt_fail_memory(failure);
  }
  wasmtime_error_t *error = wt.wasmtime_linker_define_func_unchecked(
      linker, import->module, import->module_size, import->name, import->name_size, type->native, call_linked, self,
      free); /* takes `self`, even on failure */
  wt_functype_give(engine, type);
  return error == NULL ? WRT_OK : wt_fail_error(failure, WRT_LINK, error);
}

int wt_link(wrt_engine *engine, wrt_module *module, const wrt_import *imports, size_t count, wrt_host_function function,
            wrt_linked **out, wrt_failure *failure) {
  wasmtime_linker_t *linker = wt.wasmtime_linker_new(engine->engine);
  int result = WRT_OK;
  for (size_t i = 0; i < count && result == WRT_OK; i++)
    result = define(engine, linker, &imports[i], i, function, failure);
  if (result == WRT_OK) {
    wasmtime_error_t *error = wt.wasmtime_linker_instantiate_pre(linker, (const wasmtime_module_t *)module,
                                                                 (wasmtime_instance_pre_t **)out);
    if (error != NULL) result = wt_fail_error(failure, WRT_LINK, error);
  }
  wt.wasmtime_linker_delete(linker);
  return result;
}

int wt_linked_instantiate(wrt_store *store, wrt_linked *linked, void *const *envs, wrt_instance *out,
                          wrt_failure *failure) {
  wasm_trap_t *trap = NULL;
  wasmtime_instance instance;
  store->envs = envs;
  wasmtime_error_t *error = wt.wasmtime_instance_pre_instantiate((const wasmtime_instance_pre_t *)linked, store->context,
                                                                 &instance, &trap);
  if (error != NULL || trap != NULL) return wt_fail_guest(store, failure, WRT_LINK, error, trap);
  memcpy(out, &instance, sizeof instance);
  return WRT_OK;
}

void wt_linked_delete(wrt_linked *linked) { wt.wasmtime_instance_pre_delete((wasmtime_instance_pre_t *)linked); }
