/* engine.c: the engine table over Wasmtime's C API. Nothing else is visible outside. This file has engines, modules, stores,
 * instances and the call; what the host does with externs stands in externs.h.
 *
 * Who owns what: an engine, module or store of ours is a small struct around Wasmtime's own, which counts its references, so
 * that engine and module may be deleted while instances live. Externs are Wasmtime's plain handles, kept inside wrt_extern,
 * except shared memories: those are reference-counted objects, and a store that hands one out keeps it until the store is
 * deleted. The host function records are owned by Wasmtime, which frees them with the store.
 */
#include "stack.h"
#include "wrt.h"

#include <dlfcn.h>
#include <stdio.h>

#include "exceptions.h"
#include "externs.h"
#include "failures.h"
#include "functypes.h"
#include "linked.h"
#include "profiles.h"
#include "references.h"
#include "tasks.h"

struct wt_functions wt;

/* ---- Wasmtime's functions ---- */

const char *wrt_wasmtime_load(const char *path) {
  static char problem[512];
  static bool loaded;
  if (loaded) return NULL;
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL); /* never closed: JIT code and signal handlers live in it */
  if (library == NULL) {
    snprintf(problem, sizeof problem, "%s", dlerror());
    return problem;
  }
  /* POSIX lets dlsym's result be stored through the address of a function pointer. */
#define LOOK_UP(field, symbol)                                                  \
  *(void **)(&(field)) = dlsym(library, symbol);                                \
  if ((field) == NULL) {                                                        \
    snprintf(problem, sizeof problem, "%s has no function %s", path, symbol);   \
    return problem;                                                             \
  }
#define LOOK_UP_FUNCTION(result, name, parameters) LOOK_UP(wt.name, #name)
#define LOOK_UP_SETTING(type, name) LOOK_UP(wt.set.name, "wasmtime_config_" #name "_set")
  WASMTIME_API(LOOK_UP_FUNCTION)
#define LOOK_UP_POOL_SETTING(type, name) LOOK_UP(wt.pool.name, "wasmtime_pooling_allocation_config_" #name "_set")
  WASMTIME_SETTINGS(LOOK_UP_SETTING)
  WASMTIME_POOL_SETTINGS(LOOK_UP_POOL_SETTING)
  wt.library = library;
  loaded = true;
  return NULL;
}

/* ---- bytes ---- */

int wt_give_bytes(wasm_byte_vec *vector, wrt_bytes *out, wrt_failure *failure) {
  wasm_byte_vec *owner = malloc(sizeof *owner);
  if (owner == NULL) {
    wt.wasm_byte_vec_delete(vector);
    return wt_fail_memory(failure);
  }
  *owner = *vector;
  *out = (wrt_bytes){.data = (uint8_t *)owner->data, .size = owner->size, .owner = owner};
  return WRT_OK;
}

static void bytes_clear(wrt_bytes *bytes) {
  if (bytes->owner != NULL) wt.wasm_byte_vec_delete(bytes->owner);
  free(bytes->owner);
  *bytes = (wrt_bytes){0};
}

/* ---- engine and module ---- */

/* Sets an option of the pool, which the first option creates. */
static bool set_pool_option(wasmtime_pool_config_t **pool, const wrt_option *option) {
#define SET_POOL_OPTION(type, setting)                                                    \
  if (strcmp(option->name, "pool_" #setting) == 0) {                                      \
    if (*pool == NULL) *pool = wt.wasmtime_pooling_allocation_config_new();               \
    wt.pool.setting(*pool, (type)option->value);                                          \
    return true;                                                                          \
  }
  WASMTIME_POOL_SETTINGS(SET_POOL_OPTION)
  return false;
}

static bool set_option(wasm_config_t *config, const wrt_option *option) {
#define SET_OPTION(type, setting)                        \
  if (strcmp(option->name, #setting) == 0) {             \
    wt.set.setting(config, (type)option->value);         \
    return true;                                         \
  }
  WASMTIME_SETTINGS(SET_OPTION)
  return false;
}

static int engine_new(const wrt_option *options, size_t count, wrt_engine **out, wrt_failure *failure) {
  wrt_engine *engine = calloc(1, sizeof *engine);
  if (engine == NULL) return wt_fail_memory(failure);
  wasm_config_t *config = wt.wasm_config_new();
  wasmtime_pool_config_t *pool = NULL;
  for (size_t i = 0; i < count; i++) {
    if (!set_option(config, &options[i]) && !set_pool_option(&pool, &options[i])) {
      if (pool != NULL) wt.wasmtime_pooling_allocation_config_delete(pool);
      wt.wasm_config_delete(config);
      free(engine);
      return wt_fail(failure, WRT_INVALID, options[i].name);
    }
  }
  if (pool != NULL) {
    wt.wasmtime_pooling_allocation_strategy_set(config, pool);
    wt.wasmtime_pooling_allocation_config_delete(pool);
  }
  engine->engine = wt.wasm_engine_new_with_config(config); /* takes the config */
  if (engine->engine == NULL) {
    free(engine);
    return wt_fail(failure, WRT_INVALID, "Wasmtime refused this combination of settings");
  }
  engine->holders = 1;
  *out = engine;
  return WRT_OK;
}

static void engine_delete(wrt_engine *engine) {
  if (__atomic_sub_fetch(&engine->holders, 1, __ATOMIC_ACQ_REL) != 0) return;
  wt_functypes_clear(engine);
  wt.wasm_engine_delete(engine->engine);
  free(engine);
}

static int validate(wrt_engine *engine, const uint8_t *bytes, size_t size, wrt_failure *failure) {
  if (wt_no_stack(READER_STACK, failure)) return WRT_ERROR;
  wasmtime_error_t *error = wt.wasmtime_module_validate(engine->engine, bytes, size);
  return error == NULL ? WRT_OK : wt_fail_error(failure, WRT_INVALID, error);
}

static int compile(wrt_engine *engine, const uint8_t *bytes, size_t size, wrt_module **out, wrt_failure *failure) {
  if (wt_no_stack(COMPILER_STACK, failure)) return WRT_ERROR;
  wasmtime_error_t *error = wt.wasmtime_module_new(engine->engine, bytes, size, (wasmtime_module_t **)out);
  return error == NULL ? WRT_OK : wt_fail_error(failure, WRT_INVALID, error);
}

static int text_to_binary(const char *text, size_t size, wrt_bytes *out, wrt_failure *failure) {
  if (wt_no_stack(READER_STACK, failure)) return WRT_ERROR;
  wasm_byte_vec binary;
  wasmtime_error_t *error = wt.wasmtime_wat2wasm(text, size, &binary);
  return error == NULL ? wt_give_bytes(&binary, out, failure) : wt_fail_error(failure, WRT_INVALID, error);
}

static int serialize(wrt_module *module, wrt_bytes *out, wrt_failure *failure) {
  wasm_byte_vec blob;
  wasmtime_error_t *error = wt.wasmtime_module_serialize((wasmtime_module_t *)module, &blob);
  return error == NULL ? wt_give_bytes(&blob, out, failure) : wt_fail_error(failure, WRT_ERROR, error);
}

static int deserialize(wrt_engine *engine, const uint8_t *bytes, size_t size, wrt_module **out, wrt_failure *failure) {
  if (wt_no_stack(READER_STACK, failure)) return WRT_ERROR;
  wasmtime_error_t *error = wt.wasmtime_module_deserialize(engine->engine, bytes, size, (wasmtime_module_t **)out);
  return error == NULL ? WRT_OK : wt_fail_error(failure, WRT_INVALID, error);
}

static void module_delete(wrt_module *module) { wt.wasmtime_module_delete((wasmtime_module_t *)module); }

/* ---- store ---- */

static int store_new(wrt_engine *engine, int64_t memory_bytes, int64_t table_elements, int64_t instances,
                     wrt_store **out, wrt_failure *failure) {
  wrt_store *store = calloc(1, sizeof *store);
  if (store == NULL) return wt_fail_memory(failure);
  __atomic_add_fetch(&engine->holders, 1, __ATOMIC_RELAXED);
  store->engine = engine;
  store->store = wt.wasmtime_store_new(engine->engine, store, NULL);
  store->context = wt.wasmtime_store_context(store->store);
  if (memory_bytes >= 0 || table_elements >= 0 || instances >= 0) /* a limiter costs a little, and asks at each growth */
    wt.wasmtime_store_limiter(store->store, memory_bytes, table_elements, instances, -1, -1);
  *out = store;
  return WRT_OK;
}

/* Called in guest code at the first epoch check after a tick. */
static wasmtime_error_t *poll_host(wasmtime_context_t *context, void *env, uint64_t *delta, uint8_t *kind) {
  wrt_store *store = env;
  /* Wasmtime has taken the callback out of the store until this returns: a guest that a signal handler calls from here would
   * trap at its own check. So the store gets another callback, which Wasmtime drops when it puts this one back. */
  wt.wasmtime_store_epoch_deadline_callback(store->store, poll_host, store, NULL);
  wt.wasmtime_context_set_epoch_deadline(context, 1);
  *delta = 1; /* until the next tick */
  *kind = WASMTIME_UPDATE_DEADLINE_CONTINUE;
  int answer = store->poll == NULL ? WRT_OK : store->poll(store->poll_env);
  if (answer == WRT_PENDING) *kind = WASMTIME_UPDATE_DEADLINE_YIELD;
  if (answer != WRT_HOST) return NULL;
  store->host_failed = true;
  wt.wasmtime_context_set_epoch_deadline(context, 1); /* for the next call */
  return wt.wasmtime_error_new("host");               /* only unwinds: the host knows the reason */
}

static void store_poll(wrt_store *store, int (*poll)(void *env), void *env) {
  store->poll = poll;
  store->poll_env = env;
  wt.wasmtime_store_epoch_deadline_callback(store->store, poll_host, store, NULL);
  wt.wasmtime_context_set_epoch_deadline(store->context, 1);
}

static void engine_tick(wrt_engine *engine) { wt.wasmtime_engine_increment_epoch(engine->engine); }

static int fuel_set(wrt_store *store, uint64_t fuel, wrt_failure *failure) {
  wasmtime_error_t *error = wt.wasmtime_context_set_fuel(store->context, fuel);
  return error == NULL ? WRT_OK : wt_fail_error(failure, WRT_UNSUPPORTED, error);
}

static int fuel_get(wrt_store *store, uint64_t *fuel, wrt_failure *failure) {
  wasmtime_error_t *error = wt.wasmtime_context_get_fuel(store->context, fuel);
  return error == NULL ? WRT_OK : wt_fail_error(failure, WRT_UNSUPPORTED, error);
}

static void store_delete(wrt_store *store) {
  for (size_t i = 0; i < store->shared_count; i++) wt.wasmtime_sharedmemory_delete(store->shared[i]);
  if (store->linker != NULL) wt.wasmtime_linker_delete(store->linker);
  wt_exception_drop(store);
  wt.wasmtime_store_delete(store->store);
  engine_delete(store->engine);
  free(store->shared);
  free(store);
}

static void collect(wrt_store *store) {
  wasmtime_error_t *error = wt.wasmtime_context_gc(store->context);
  if (error != NULL) wt.wasmtime_error_delete(error); /* nothing was reclaimed; the next allocation will tell */
}

/* ---- instances and the call ---- */

static int instantiate(wrt_store *store, wrt_module *module, const wrt_extern *imports, size_t count,
                       wrt_instance *out, wrt_failure *failure) {
  wasmtime_extern *externs = calloc(count + 1, sizeof *externs);
  if (externs == NULL) return wt_fail_memory(failure);
  for (size_t i = 0; i < count; i++) memcpy(&externs[i], &imports[i], sizeof *externs);
  wasm_trap_t *trap = NULL;
  wasmtime_instance instance;
  wasmtime_error_t *error =
      wt.wasmtime_instance_new(store->context, (wasmtime_module_t *)module, externs, count, &instance, &trap);
  free(externs);
  if (error != NULL || trap != NULL) return wt_fail_guest(store, failure, WRT_LINK, error, trap);
  memcpy(out, &instance, sizeof instance);
  return WRT_OK;
}

static bool instance_export(wrt_store *store, const wrt_instance *instance, const char *name, size_t size,
                            wrt_extern *out) {
  wasmtime_extern ext;
  return wt.wasmtime_instance_export_get(store->context, (const wasmtime_instance *)instance, name, size, &ext) &&
         wt_give_extern(store, &ext, out);
}

static bool caller_export(wrt_store *store, wrt_caller *caller, const char *name, size_t size, wrt_extern *out) {
  wasmtime_extern ext;
  return wt.wasmtime_caller_export_get((wasmtime_caller_t *)caller, name, size, &ext) && wt_give_extern(store, &ext, out);
}

static int call(wrt_store *store, const wrt_extern *function, wrt_slot *slots, size_t slot_count,
                wrt_failure *failure) {
  wasm_trap_t *trap = NULL;
  wasmtime_error_t *error = wt.wasmtime_func_call_unchecked(store->context, &unwrap(function)->of.func,
                                                            (wasmtime_val_raw *)slots,
                                                            slot_count * sizeof *slots / sizeof(wasmtime_val_raw), &trap);
  if (__builtin_expect(error == NULL && trap == NULL, 1)) return WRT_OK;
  return wt_fail_guest(store, failure, WRT_ERROR, error, trap);
}

/* ---- the table ---- */

static const wrt_engine_ops ops = {
    .version = WRT_VERSION,
    .slot_words = 2,
    .name = "wasmtime",
    .engine_new = engine_new,
    .engine_delete = engine_delete,
    .validate = validate,
    .compile = compile,
    .text_to_binary = text_to_binary,
    .serialize = serialize,
    .deserialize = deserialize,
    .module_delete = module_delete,
    .store_new = store_new,
    .store_delete = store_delete,
    .function_new = wt_function_new,
    .memory_new = wt_memory_new,
    .table_new = wt_table_new,
    .global_new = wt_global_new,
    .instantiate = instantiate,
    .instance_export = instance_export,
    .caller_export = caller_export,
    .extern_type = wt_extern_type,
    .call = call,
    .memory_data = wt_memory_data,
    .memory_grow = wt_memory_grow,
    .global_get = wt_global_get,
    .global_set = wt_global_set,
    .table_size = wt_table_size,
    .table_get = wt_table_get,
    .table_set = wt_table_set,
    .table_grow = wt_table_grow,
    .function_to_slot = wt_function_to_slot,
    .function_from_slot = wt_function_from_slot,
    .ref_new = wt_ref_new,
    .ref_to_slot = wt_ref_to_slot,
    .ref_delete = wt_ref_delete,
    .ref_data = wt_ref_data,
    .collect = collect,
    .failure_clear = wt_failure_clear,
    .bytes_clear = bytes_clear,
    .type_clear = wt_type_clear,
    .store_poll = store_poll,
    .engine_tick = engine_tick,
    .fuel_set = fuel_set,
    .fuel_get = fuel_get,
    .link = wt_link,
    .linked_instantiate = wt_linked_instantiate,
    .linked_delete = wt_linked_delete,
    .tasks = &wt_tasks,
    .tag_new = wt_tag_new,
    .exception_throw = wt_exception_throw,
    .exception_tag = wt_exception_tag,
    .exception_is = wt_exception_is,
    .exception_values = wt_exception_values,
    .profile_new = wt_profile_new,
    .profile_sample = wt_profile_sample,
    .profile_finish = wt_profile_finish,
    .profile_delete = wt_profile_delete,
    .call_checked = wt_call_checked,
    .import_types = wt_import_types,
    .function_new_as = wt_function_new_as,
    .i31_to_slot = wt_i31_to_slot,
    .object_kind = wt_object_kind,
    .object_root = wt_object_root,
    .object_is = wt_object_is,
    .object_size = wt_object_size,
    .object_get = wt_object_get,
    .exception_of = wt_exception_of,
};

const wrt_engine_ops *wrt_wasmtime_ops(void) { return &ops; }

/* ---- the layout that the ABI test compares ---- */

#define TYPE(type) {#type, NULL, _Alignof(type), sizeof(type)}
#define FIELD(type, field) {#type, #field, offsetof(type, field), sizeof(((type *)0)->field)}

size_t wrt_wasmtime_layout(const wrt_layout **out) {
  static const wrt_layout rows[] = {
      TYPE(wasm_byte_vec),         FIELD(wasm_byte_vec, size),           FIELD(wasm_byte_vec, data),
      TYPE(wasm_frame_vec),        FIELD(wasm_frame_vec, size),          FIELD(wasm_frame_vec, data),
      TYPE(wasm_valtype_vec),      FIELD(wasm_valtype_vec, size),        FIELD(wasm_valtype_vec, data),
      TYPE(wasm_limits),           FIELD(wasm_limits, min),              FIELD(wasm_limits, max),
      TYPE(wasmtime_func),         FIELD(wasmtime_func, store_id),       FIELD(wasmtime_func, private_),
      TYPE(wasmtime_table),        FIELD(wasmtime_table, private2),      TYPE(wasmtime_memory),
      FIELD(wasmtime_memory, private2),
      TYPE(wasmtime_global),       FIELD(wasmtime_global, store_id),     FIELD(wasmtime_global, private1),
      FIELD(wasmtime_global, private2), FIELD(wasmtime_global, private3),
      TYPE(wasmtime_tag),          FIELD(wasmtime_tag, private2),        TYPE(wasmtime_exnref),
      FIELD(wasmtime_exnref, store_id), FIELD(wasmtime_exnref, private3),
      TYPE(wasmtime_instance),     FIELD(wasmtime_instance, store_id),   FIELD(wasmtime_instance, private_),
      TYPE(wasmtime_extern),       FIELD(wasmtime_extern, kind),         FIELD(wasmtime_extern, of),
      TYPE(wasmtime_externref),    FIELD(wasmtime_externref, store_id),  FIELD(wasmtime_externref, private1),
      FIELD(wasmtime_externref, private2), FIELD(wasmtime_externref, private3),
      TYPE(wasmtime_val),          FIELD(wasmtime_val, kind),            FIELD(wasmtime_val, of),
      TYPE(wasmtime_val_raw),      TYPE(wasmtime_heaptype),              FIELD(wasmtime_heaptype, kind),
      FIELD(wasmtime_heaptype, of), TYPE(wasmtime_reftype),              FIELD(wasmtime_reftype, nullable),
      FIELD(wasmtime_reftype, heaptype), TYPE(wasmtime_valtype),         FIELD(wasmtime_valtype, kind),
      FIELD(wasmtime_valtype, reftype),
      TYPE(wasmtime_guestprofiler_modules), FIELD(wasmtime_guestprofiler_modules, name),
      FIELD(wasmtime_guestprofiler_modules, mod),
      TYPE(wasm_importtype_vec), FIELD(wasm_importtype_vec, size), FIELD(wasm_importtype_vec, data),
      TYPE(wasmtime_async_continuation), FIELD(wasmtime_async_continuation, callback),
      FIELD(wasmtime_async_continuation, env), FIELD(wasmtime_async_continuation, finalizer),
  };
  *out = rows;
  return sizeof rows / sizeof *rows;
}
