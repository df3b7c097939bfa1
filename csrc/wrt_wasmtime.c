/* wrt_wasmtime.c: the engine table over Wasmtime's C API. Nothing else is visible outside this file.
 *
 * Who owns what: an engine, module or store of ours is a small struct around Wasmtime's own, which counts its references, so
 * that engine and module may be deleted while instances live. Externs are Wasmtime's plain handles, kept inside wrt_extern,
 * but for shared memories: those are counted objects, and the store that handed one out keeps it until it is deleted.
 * The host function records are owned by Wasmtime, which frees them with the store.
 */
#include "wrt.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wrt_wasmtime_api.h"

_Static_assert(sizeof(wasmtime_extern) <= sizeof(wrt_extern), "an extern fits its opaque form");
_Static_assert(sizeof(wasmtime_instance) <= sizeof(wrt_instance), "an instance fits its opaque form");
_Static_assert(sizeof(wasmtime_externref) <= sizeof(wrt_ref), "a reference fits its opaque form");
_Static_assert(sizeof(wasmtime_val_raw) == 2 * sizeof(wrt_slot), "a value is two slots");

/* ---- Wasmtime's functions, looked up once by wrt_wasmtime_load ---- */

#define DECLARE(result, name, parameters) result(*name) parameters;
#define DECLARE_SETTING(type, name) void (*name)(wasm_config_t *, type);
static struct {
  WASMTIME_API(DECLARE)
  struct {
    WASMTIME_SETTINGS(DECLARE_SETTING)
  } set;
} wt;

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
  WASMTIME_SETTINGS(LOOK_UP_SETTING)
  loaded = true;
  return NULL;
}

/* ---- our objects ---- */

struct wrt_engine {
  wasm_engine_t *engine;
};

/* A module is Wasmtime's own: wrt_module is never defined, only cast. */

struct wrt_store {
  wasmtime_context_t *context;
  wasmtime_store_t *store;
  wasm_engine_t *engine; /* borrowed: Wasmtime's store keeps it alive */
  bool host_failed;      /* the host has just unwound the guest */
  int (*poll)(void *env);
  void *poll_env;
  size_t shared_count;
  wasmtime_sharedmemory_t **shared; /* owned */
};

/* What a host function needs; made for each function_new, freed by Wasmtime with the store. */
typedef struct host_record {
  wrt_store *store;
  wrt_host_function function;
  void *env;
} host_record;

static inline wasmtime_extern *unwrap(const wrt_extern *item) { return (wasmtime_extern *)item; }

/* ---- failures ---- */

static char *copy_text(const char *data, size_t size) {
  char *text = malloc(size + 1);
  if (text == NULL) return NULL; /* the message is lost, the result code is not */
  memcpy(text, data, size);
  text[size] = '\0';
  return text;
}

static char *copy_name(const wasm_byte_vec *name) { return name == NULL ? NULL : copy_text(name->data, name->size); }

static int fail(wrt_failure *failure, int result, const char *message) {
  *failure = (wrt_failure){.trap = WRT_TRAP_OTHER, .message = copy_text(message, strlen(message))};
  return result;
}

static int fail_memory(wrt_failure *failure) { return fail(failure, WRT_ERROR, "out of memory"); }

/* Turns an owned error into a failure. */
static int fail_error(wrt_failure *failure, int result, wasmtime_error_t *error) {
  wasm_byte_vec text;
  wt.wasmtime_error_message(error, &text);
  *failure = (wrt_failure){.trap = WRT_TRAP_OTHER, .message = copy_text(text.data, text.size)};
  wt.wasm_byte_vec_delete(&text);
  wt.wasmtime_error_delete(error);
  return result;
}

/* Wasmtime's trap codes, by number. */
static const uint8_t trap_codes[] = {
    WRT_TRAP_STACK_OVERFLOW,      WRT_TRAP_MEMORY_OUT_OF_BOUNDS, WRT_TRAP_HEAP_MISALIGNED,
    WRT_TRAP_TABLE_OUT_OF_BOUNDS, WRT_TRAP_INDIRECT_CALL_TO_NULL, WRT_TRAP_BAD_SIGNATURE,
    WRT_TRAP_INTEGER_OVERFLOW,    WRT_TRAP_INTEGER_DIVISION_BY_ZERO, WRT_TRAP_BAD_CONVERSION_TO_INTEGER,
    WRT_TRAP_UNREACHABLE,         WRT_TRAP_INTERRUPT,            WRT_TRAP_OUT_OF_FUEL,
    WRT_TRAP_OTHER,               WRT_TRAP_NULL_REFERENCE};

/* Copies an owned trace. */
static void copy_frames(wrt_failure *failure, wasm_frame_vec trace) {
  if (trace.size > 0) failure->frames = calloc(trace.size, sizeof(wrt_frame));
  if (failure->frames != NULL) failure->frame_count = trace.size;
  for (size_t i = 0; i < failure->frame_count; i++) {
    failure->frames[i] = (wrt_frame){
        .func_index = wt.wasm_frame_func_index(trace.data[i]),
        .func_offset = wt.wasm_frame_func_offset(trace.data[i]),
        .module_offset = wt.wasm_frame_module_offset(trace.data[i]),
        .func_name = copy_name(wt.wasmtime_frame_func_name(trace.data[i])),
        .module_name = copy_name(wt.wasmtime_frame_module_name(trace.data[i])),
    };
  }
  wt.wasm_frame_vec_delete(&trace);
}

/* A guest's exception that nobody caught stays with the store until it is taken: whether one did. */
static bool take_exception(wasmtime_context_t *context) {
  wasmtime_externref exception;
  if (!wt.wasmtime_context_take_exception(context, &exception)) return false;
  wt.wasmtime_exnref_unroot(&exception);
  return true;
}

/* Turns an owned trap into a failure. */
static int fail_trap(wrt_failure *failure, wasmtime_context_t *context, wasm_trap_t *trap) {
  uint8_t code;
  wasm_byte_vec text;
  wasm_frame_vec trace;
  wrt_trap reason = WRT_TRAP_OTHER;
  if (wt.wasmtime_trap_code(trap, &code)) {
    if (code < sizeof trap_codes) reason = (wrt_trap)trap_codes[code];
  } else if (take_exception(context)) {
    reason = WRT_TRAP_UNCAUGHT_EXCEPTION;
  }
  wt.wasm_trap_message(trap, &text);
  size_t size = text.size > 0 ? text.size - 1 : 0; /* Wasmtime ends this text in a NUL of its own */
  *failure = (wrt_failure){.trap = reason, .message = copy_text(text.data, size)};
  wt.wasm_byte_vec_delete(&text);
  wt.wasm_trap_trace(trap, &trace);
  copy_frames(failure, trace);
  wt.wasm_trap_delete(trap);
  return WRT_TRAP;
}

/* Turns an owned error into the failure of a start function whose exception nobody caught: of a call, that is a trap. */
static int fail_uncaught(wrt_failure *failure, wasmtime_error_t *error) {
  wasm_byte_vec text;
  wasm_frame_vec trace;
  wt.wasmtime_error_message(error, &text);
  *failure = (wrt_failure){.trap = WRT_TRAP_UNCAUGHT_EXCEPTION, .message = copy_text(text.data, text.size)};
  wt.wasm_byte_vec_delete(&text);
  wt.wasmtime_error_wasm_trace(error, &trace);
  copy_frames(failure, trace);
  wt.wasmtime_error_delete(error);
  return WRT_TRAP;
}

/* How guest code ended, when it did not end well. `result` is for an error that is neither trap nor host failure. */
static int fail_guest(wrt_store *store, wrt_failure *failure, int result, wasmtime_error_t *error, wasm_trap_t *trap) {
  bool host_failed = store->host_failed;
  store->host_failed = false;
  if (error == NULL) return fail_trap(failure, store->context, trap);
  if (!host_failed) return take_exception(store->context) ? fail_uncaught(failure, error) : fail_error(failure, result, error);
  wt.wasmtime_error_delete(error);
  *failure = (wrt_failure){.trap = WRT_TRAP_OTHER};
  return WRT_HOST;
}

static void failure_clear(wrt_failure *failure) {
  for (size_t i = 0; i < failure->frame_count; i++) {
    free(failure->frames[i].func_name);
    free(failure->frames[i].module_name);
  }
  free(failure->frames);
  free(failure->message);
  *failure = (wrt_failure){.trap = WRT_TRAP_OTHER};
}

/* ---- bytes and types ---- */

/* Moves Wasmtime's vector into `out` without a copy. */
static int give_bytes(wasm_byte_vec *vector, wrt_bytes *out, wrt_failure *failure) {
  wasm_byte_vec *owner = malloc(sizeof *owner);
  if (owner == NULL) {
    wt.wasm_byte_vec_delete(vector);
    return fail_memory(failure);
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

static wasm_valtype_t *new_valtype(uint8_t type) {
  switch (type) {
    case WRT_V128: return wt.wasmtime_wasm_valtype_v128();
    case WRT_FUNCREF: return wt.wasm_valtype_new(WASM_VALKIND_FUNCREF);
    case WRT_EXTERNREF: return wt.wasm_valtype_new(WASM_VALKIND_EXTERNREF);
    default: return wt.wasm_valtype_new(type); /* the numbers agree for i32 i64 f32 f64 */
  }
}

/* wasm_valtype_kind would abort the process on a vector or a typed reference; this way of asking does not. */
static wrt_type read_valtype(const wasm_valtype_t *valtype) {
  wasmtime_valtype type;
  wt.wasmtime_valtype_new(valtype, &type);
  if (type.kind != WASMTIME_VALTYPE_REF) return (wrt_type)type.kind;
  wrt_type result = WRT_REF;
  if (type.reftype.nullable && type.reftype.heaptype.kind == WASMTIME_HEAPTYPE_FUNC) result = WRT_FUNCREF;
  if (type.reftype.nullable && type.reftype.heaptype.kind == WASMTIME_HEAPTYPE_EXTERN) result = WRT_EXTERNREF;
  wt.wasmtime_valtype_delete(&type);
  return result;
}

static int function_type(wrt_store *store, const wasmtime_func *func, wrt_extern_type *out, wrt_failure *failure) {
  wasm_functype_t *type = wt.wasmtime_func_type(store->context, func);
  const wasm_valtype_vec *params = wt.wasm_functype_params(type);
  const wasm_valtype_vec *results = wt.wasm_functype_results(type);
  uint8_t *types = malloc(params->size + results->size + 1);
  if (types == NULL) {
    wt.wasm_functype_delete(type);
    return fail_memory(failure);
  }
  *out = (wrt_extern_type){
      .kind = WRT_FUNCTION, .param_count = params->size, .result_count = results->size, .types = types};
  for (size_t i = 0; i < params->size; i++) *types++ = (uint8_t)read_valtype(params->data[i]);
  for (size_t i = 0; i < results->size; i++) *types++ = (uint8_t)read_valtype(results->data[i]);
  wt.wasm_functype_delete(type);
  return WRT_OK;
}

static void memory_type(wasm_memorytype_t *type, wrt_extern_type *out) {
  *out = (wrt_extern_type){
      .kind = WRT_MEMORY,
      .is_64 = wt.wasmtime_memorytype_is64(type),
      .shared = wt.wasmtime_memorytype_isshared(type),
      .minimum = wt.wasmtime_memorytype_minimum(type),
      .page_size = wt.wasmtime_memorytype_page_size(type),
  };
  out->has_maximum = wt.wasmtime_memorytype_maximum(type, &out->maximum);
  wt.wasm_memorytype_delete(type);
}

static int extern_type(wrt_store *store, const wrt_extern *item, wrt_extern_type *out, wrt_failure *failure) {
  const wasmtime_extern *ext = unwrap(item);
  switch (ext->kind) {
    case WASMTIME_EXTERN_FUNC: return function_type(store, &ext->of.func, out, failure);
    case WASMTIME_EXTERN_MEMORY: memory_type(wt.wasmtime_memory_type(store->context, &ext->of.memory), out); break;
    case WASMTIME_EXTERN_SHAREDMEMORY: memory_type(wt.wasmtime_sharedmemory_type(ext->of.sharedmemory), out); break;
    case WASMTIME_EXTERN_TABLE: {
      /* Wasmtime's C API aborts on the limits of a 64-bit table, so the current size stands in for them. */
      wasm_tabletype_t *type = wt.wasmtime_table_type(store->context, &ext->of.table);
      *out = (wrt_extern_type){.kind = WRT_TABLE,
                               .content = read_valtype(wt.wasm_tabletype_element(type)),
                               .minimum = wt.wasmtime_table_size(store->context, &ext->of.table)};
      wt.wasm_tabletype_delete(type);
      break;
    }
    case WASMTIME_EXTERN_GLOBAL: {
      wasm_globaltype_t *type = wt.wasmtime_global_type(store->context, &ext->of.global);
      *out = (wrt_extern_type){.kind = WRT_GLOBAL,
                               .content = read_valtype(wt.wasm_globaltype_content(type)),
                               .mutable_ = wt.wasm_globaltype_mutability(type) != 0};
      wt.wasm_globaltype_delete(type);
      break;
    }
    default: *out = (wrt_extern_type){.kind = WRT_TAG}; break;
  }
  return WRT_OK;
}

static void type_clear(wrt_extern_type *type) {
  free(type->types);
  type->types = NULL;
}

/* ---- engine and module ---- */

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
  wrt_engine *engine = malloc(sizeof *engine);
  if (engine == NULL) return fail_memory(failure);
  wasm_config_t *config = wt.wasm_config_new();
  for (size_t i = 0; i < count; i++) {
    if (!set_option(config, &options[i])) {
      wt.wasm_config_delete(config);
      free(engine);
      return fail(failure, WRT_INVALID, options[i].name);
    }
  }
  engine->engine = wt.wasm_engine_new_with_config(config); /* takes the config */
  if (engine->engine == NULL) {
    free(engine);
    return fail(failure, WRT_INVALID, "Wasmtime refused this combination of settings");
  }
  *out = engine;
  return WRT_OK;
}

static void engine_delete(wrt_engine *engine) {
  wt.wasm_engine_delete(engine->engine);
  free(engine);
}

static int validate(wrt_engine *engine, const uint8_t *bytes, size_t size, wrt_failure *failure) {
  wasmtime_error_t *error = wt.wasmtime_module_validate(engine->engine, bytes, size);
  return error == NULL ? WRT_OK : fail_error(failure, WRT_INVALID, error);
}

static int compile(wrt_engine *engine, const uint8_t *bytes, size_t size, wrt_module **out, wrt_failure *failure) {
  wasmtime_error_t *error = wt.wasmtime_module_new(engine->engine, bytes, size, (wasmtime_module_t **)out);
  return error == NULL ? WRT_OK : fail_error(failure, WRT_INVALID, error);
}

static int text_to_binary(const char *text, size_t size, wrt_bytes *out, wrt_failure *failure) {
  wasm_byte_vec binary;
  wasmtime_error_t *error = wt.wasmtime_wat2wasm(text, size, &binary);
  return error == NULL ? give_bytes(&binary, out, failure) : fail_error(failure, WRT_INVALID, error);
}

static int serialize(wrt_module *module, wrt_bytes *out, wrt_failure *failure) {
  wasm_byte_vec blob;
  wasmtime_error_t *error = wt.wasmtime_module_serialize((wasmtime_module_t *)module, &blob);
  return error == NULL ? give_bytes(&blob, out, failure) : fail_error(failure, WRT_ERROR, error);
}

static int deserialize(wrt_engine *engine, const uint8_t *bytes, size_t size, wrt_module **out, wrt_failure *failure) {
  wasmtime_error_t *error = wt.wasmtime_module_deserialize(engine->engine, bytes, size, (wasmtime_module_t **)out);
  return error == NULL ? WRT_OK : fail_error(failure, WRT_INVALID, error);
}

static void module_delete(wrt_module *module) { wt.wasmtime_module_delete((wasmtime_module_t *)module); }

/* ---- store ---- */

static int store_new(wrt_engine *engine, int64_t memory_bytes, int64_t table_elements, int64_t instances,
                     wrt_store **out, wrt_failure *failure) {
  wrt_store *store = calloc(1, sizeof *store);
  if (store == NULL) return fail_memory(failure);
  store->engine = engine->engine;
  store->store = wt.wasmtime_store_new(engine->engine, NULL, NULL);
  store->context = wt.wasmtime_store_context(store->store);
  wt.wasmtime_store_limiter(store->store, memory_bytes, table_elements, instances, -1, -1);
  *out = store;
  return WRT_OK;
}

/* Called in guest code at the first epoch check after a tick. */
static wasmtime_error_t *poll_host(wasmtime_context_t *context, void *env, uint64_t *delta, uint8_t *kind) {
  wrt_store *store = env;
  /* Until this returns, a guest that the host calls from here finds no callback, and would trap at its own check. */
  wt.wasmtime_context_set_epoch_deadline(context, UINT64_C(1) << 40);
  *delta = 1; /* until the next tick */
  *kind = 0;  /* and go straight on */
  if (store->poll == NULL || store->poll(store->poll_env) == WRT_OK) return NULL;
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
  return error == NULL ? WRT_OK : fail_error(failure, WRT_UNSUPPORTED, error);
}

static int fuel_get(wrt_store *store, uint64_t *fuel, wrt_failure *failure) {
  wasmtime_error_t *error = wt.wasmtime_context_get_fuel(store->context, fuel);
  return error == NULL ? WRT_OK : fail_error(failure, WRT_UNSUPPORTED, error);
}

static void store_delete(wrt_store *store) {
  for (size_t i = 0; i < store->shared_count; i++) wt.wasmtime_sharedmemory_delete(store->shared[i]);
  wt.wasmtime_store_delete(store->store);
  free(store->shared);
  free(store);
}

/* Lets the store own a shared memory, so that a handle to it can be a plain value. One that the store has already is
 * recognised by its address, which never changes; `ext` then refers to that. False, and the memory released, without room. */
static bool keep_shared(wrt_store *store, wasmtime_extern *ext) {
  wasmtime_sharedmemory_t *memory = ext->of.sharedmemory;
  for (size_t i = 0; i < store->shared_count; i++) {
    if (wt.wasmtime_sharedmemory_data(store->shared[i]) == wt.wasmtime_sharedmemory_data(memory)) {
      wt.wasmtime_sharedmemory_delete(memory);
      ext->of.sharedmemory = store->shared[i];
      return true;
    }
  }
  wasmtime_sharedmemory_t **grown = realloc(store->shared, (store->shared_count + 1) * sizeof *grown);
  if (grown == NULL) {
    wt.wasmtime_sharedmemory_delete(memory);
    return false;
  }
  grown[store->shared_count++] = memory;
  store->shared = grown;
  return true;
}

/* Copies the parts that count, so that handles of one thing are the same bytes. */
static void put_extern(const wasmtime_extern *ext, wrt_extern *out) {
  wasmtime_extern *put = memset(out, 0, sizeof *out);
  put->kind = ext->kind;
  switch (ext->kind) {
    case WASMTIME_EXTERN_FUNC: put->of.func = ext->of.func; break;
    case WASMTIME_EXTERN_SHAREDMEMORY: put->of.sharedmemory = ext->of.sharedmemory; break;
    case WASMTIME_EXTERN_GLOBAL:
      put->of.global.store_id = ext->of.global.store_id;
      put->of.global.private1 = ext->of.global.private1;
      put->of.global.private2 = ext->of.global.private2;
      put->of.global.private3 = ext->of.global.private3;
      break;
    default: put->of.table = ext->of.table; break; /* memories and tags have the same form */
  }
}

static bool give_extern(wrt_store *store, wasmtime_extern *ext, wrt_extern *out) {
  if (ext->kind == WASMTIME_EXTERN_SHAREDMEMORY && !keep_shared(store, ext)) return false;
  put_extern(ext, out);
  return true;
}

static void collect(wrt_store *store) {
  wasmtime_error_t *error = wt.wasmtime_context_gc(store->context);
  if (error != NULL) wt.wasmtime_error_delete(error); /* nothing was reclaimed; the next allocation will tell */
}

/* ---- values ---- */

/* The value that a slot holds, rooted: unroot_val afterwards. */
static void val_from_slot(wrt_store *store, wrt_type type, const wrt_slot *slot, wasmtime_val *out) {
  memset(out, 0, sizeof *out);
  switch (type) {
    case WRT_FUNCREF:
      out->kind = WASMTIME_FUNCREF;
      if (slot->u64 != 0) wt.wasmtime_func_from_raw(store->context, (void *)(uintptr_t)slot->u64, &out->of.funcref);
      break;
    case WRT_EXTERNREF:
      out->kind = WASMTIME_EXTERNREF;
      wt.wasmtime_externref_from_raw(store->context, slot->u32, &out->of.externref);
      break;
    default:
      out->kind = (uint8_t)type; /* the numbers agree */
      memcpy(&out->of, slot, sizeof(wasmtime_val_raw));
      break;
  }
}

/* Puts an owned value into a slot and releases it; a reference stays alive through whatever holds it in the guest. */
static void val_to_slot(wrt_store *store, wasmtime_val *val, wrt_slot *out) {
  out[0].u64 = out[1].u64 = 0;
  switch (val->kind) {
    case WASMTIME_I32: out->i32 = val->of.i32; break;
    case WASMTIME_F32: out->f32 = val->of.f32; break;
    case WASMTIME_I64:
    case WASMTIME_F64: out->i64 = val->of.i64; break;
    case WASMTIME_V128: memcpy(out, val->of.v128, sizeof val->of.v128); break;
    case WASMTIME_FUNCREF:
      if (val->of.funcref.store_id != 0)
        out->u64 = (uintptr_t)wt.wasmtime_func_to_raw(store->context, &val->of.funcref);
      break;
    case WASMTIME_EXTERNREF:
      if (val->of.externref.store_id != 0)
        out->u64 = wt.wasmtime_externref_to_raw(store->context, &val->of.externref);
      break;
    default: break; /* a reference that does not cross: read as null */
  }
  wt.wasmtime_val_unroot(val);
}

static void function_to_slot(wrt_store *store, const wrt_extern *function, wrt_slot *out) {
  out->u64 = (uintptr_t)wt.wasmtime_func_to_raw(store->context, &unwrap(function)->of.func);
}

static void function_from_slot(wrt_store *store, const wrt_slot *slot, wrt_extern *out) {
  wasmtime_extern ext = {.kind = WASMTIME_EXTERN_FUNC};
  wt.wasmtime_func_from_raw(store->context, (void *)(uintptr_t)slot->u64, &ext.of.func);
  put_extern(&ext, out);
}

static int ref_new(wrt_store *store, void *data, void (*finalizer)(void *data), wrt_ref *out, wrt_failure *failure) {
  wasmtime_externref ref;
  if (!wt.wasmtime_externref_new(store->context, data, finalizer, &ref))
    return fail(failure, WRT_ERROR, "the store has no room for another reference to a Python object");
  memcpy(out, &ref, sizeof ref);
  return WRT_OK;
}

static void ref_to_slot(wrt_store *store, const wrt_ref *ref, wrt_slot *out) {
  out->u64 = wt.wasmtime_externref_to_raw(store->context, (const wasmtime_externref *)ref);
}

static void ref_delete(wrt_ref *ref) { wt.wasmtime_externref_unroot((wasmtime_externref *)ref); }

static void *ref_data(wrt_store *store, const wrt_slot *slot) {
  wasmtime_externref ref;
  wt.wasmtime_externref_from_raw(store->context, slot->u32, &ref);
  void *data = wt.wasmtime_externref_data(store->context, &ref);
  wt.wasmtime_externref_unroot(&ref);
  return data;
}

/* ---- what the host makes ---- */

static wasm_trap_t *call_host(void *env, wasmtime_caller_t *caller, wasmtime_val_raw *slots, size_t count) {
  (void)count;
  host_record *record = env;
  int result = record->function(record->env, (wrt_caller *)caller, (wrt_slot *)slots);
  if (result == WRT_OK) return NULL;
  record->store->host_failed = true;
  return wt.wasmtime_trap_new("host", 4); /* only unwinds: the host knows the reason */
}

static int function_new(wrt_store *store, const uint8_t *types, size_t param_count, size_t result_count,
                        wrt_host_function function, void *env, wrt_extern *out, wrt_failure *failure) {
  host_record *record = malloc(sizeof *record);
  if (record == NULL) return fail_memory(failure);
  *record = (host_record){.store = store, .function = function, .env = env};
  wasm_valtype_vec params, results;
  wt.wasm_valtype_vec_new_uninitialized(&params, param_count);
  wt.wasm_valtype_vec_new_uninitialized(&results, result_count);
  for (size_t i = 0; i < param_count; i++) params.data[i] = new_valtype(types[i]);
  for (size_t i = 0; i < result_count; i++) results.data[i] = new_valtype(types[param_count + i]);
  wasm_functype_t *type = wt.wasm_functype_new(&params, &results); /* takes both vectors */
  wasmtime_extern ext = {.kind = WASMTIME_EXTERN_FUNC};
  wt.wasmtime_func_new_unchecked(store->context, type, call_host, record, free, &ext.of.func); /* takes the record */
  wt.wasm_functype_delete(type);
  put_extern(&ext, out);
  return WRT_OK;
}

static int memory_new(wrt_store *store, const wrt_extern_type *type, wrt_extern *out, wrt_failure *failure) {
  wasm_memorytype_t *memory_type;
  wasmtime_extern ext = {.kind = type->shared ? WASMTIME_EXTERN_SHAREDMEMORY : WASMTIME_EXTERN_MEMORY};
  wasmtime_error_t *error = wt.wasmtime_memorytype_new(type->minimum, type->has_maximum, type->maximum, type->is_64,
                                                       type->shared, 16, &memory_type);
  if (error != NULL) return fail_error(failure, WRT_INVALID, error);
  error = type->shared ? wt.wasmtime_sharedmemory_new(store->engine, memory_type, &ext.of.sharedmemory)
                       : wt.wasmtime_memory_new(store->context, memory_type, &ext.of.memory);
  wt.wasm_memorytype_delete(memory_type);
  if (error != NULL) return fail_error(failure, WRT_LIMIT, error);
  return give_extern(store, &ext, out) ? WRT_OK : fail_memory(failure);
}

static int table_new(wrt_store *store, const wrt_extern_type *type, const wrt_slot *init, wrt_extern *out,
                     wrt_failure *failure) {
  wasm_limits limits = {.min = (uint32_t)type->minimum,
                        .max = type->has_maximum ? (uint32_t)type->maximum : (uint32_t)WASM_LIMITS_NO_MAX};
  wasm_tabletype_t *table_type = wt.wasm_tabletype_new(new_valtype((uint8_t)type->content), &limits);
  if (table_type == NULL) return fail(failure, WRT_INVALID, "a table holds references");
  wasmtime_extern ext = {.kind = WASMTIME_EXTERN_TABLE};
  wasmtime_val value;
  val_from_slot(store, type->content, init, &value);
  wasmtime_error_t *error = wt.wasmtime_table_new(store->context, table_type, &value, &ext.of.table);
  wt.wasmtime_val_unroot(&value);
  wt.wasm_tabletype_delete(table_type);
  if (error != NULL) return fail_error(failure, WRT_LIMIT, error);
  put_extern(&ext, out);
  return WRT_OK;
}

static int global_new(wrt_store *store, const wrt_extern_type *type, const wrt_slot *slot, wrt_extern *out,
                      wrt_failure *failure) {
  wasm_globaltype_t *global_type =
      wt.wasm_globaltype_new(new_valtype((uint8_t)type->content), (uint8_t)type->mutable_);
  wasmtime_extern ext = {.kind = WASMTIME_EXTERN_GLOBAL};
  wasmtime_val value;
  val_from_slot(store, type->content, slot, &value);
  wasmtime_error_t *error = wt.wasmtime_global_new(store->context, global_type, &value, &ext.of.global);
  wt.wasmtime_val_unroot(&value);
  wt.wasm_globaltype_delete(global_type);
  if (error != NULL) return fail_error(failure, WRT_ERROR, error);
  put_extern(&ext, out);
  return WRT_OK;
}

/* ---- instances and the call ---- */

static int instantiate(wrt_store *store, wrt_module *module, const wrt_extern *imports, size_t count,
                       wrt_instance *out, wrt_failure *failure) {
  wasmtime_extern *externs = calloc(count + 1, sizeof *externs);
  if (externs == NULL) return fail_memory(failure);
  for (size_t i = 0; i < count; i++) memcpy(&externs[i], &imports[i], sizeof *externs);
  wasm_trap_t *trap = NULL;
  wasmtime_instance instance;
  wasmtime_error_t *error =
      wt.wasmtime_instance_new(store->context, (wasmtime_module_t *)module, externs, count, &instance, &trap);
  free(externs);
  if (error != NULL || trap != NULL) return fail_guest(store, failure, WRT_LINK, error, trap);
  memcpy(out, &instance, sizeof instance);
  return WRT_OK;
}

static bool instance_export(wrt_store *store, const wrt_instance *instance, const char *name, size_t size,
                            wrt_extern *out) {
  wasmtime_extern ext;
  return wt.wasmtime_instance_export_get(store->context, (const wasmtime_instance *)instance, name, size, &ext) &&
         give_extern(store, &ext, out);
}

static bool caller_export(wrt_store *store, wrt_caller *caller, const char *name, size_t size, wrt_extern *out) {
  wasmtime_extern ext;
  return wt.wasmtime_caller_export_get((wasmtime_caller_t *)caller, name, size, &ext) && give_extern(store, &ext, out);
}

static int call(wrt_store *store, const wrt_extern *function, wrt_slot *slots, size_t slot_count,
                wrt_failure *failure) {
  wasm_trap_t *trap = NULL;
  wasmtime_error_t *error = wt.wasmtime_func_call_unchecked(store->context, &unwrap(function)->of.func,
                                                            (wasmtime_val_raw *)slots,
                                                            slot_count * sizeof *slots / sizeof(wasmtime_val_raw), &trap);
  if (__builtin_expect(error == NULL && trap == NULL, 1)) return WRT_OK;
  return fail_guest(store, failure, WRT_ERROR, error, trap);
}

/* ---- memories, globals, tables ---- */

static uint8_t *memory_data(wrt_store *store, const wrt_extern *memory, size_t *size) {
  const wasmtime_extern *ext = unwrap(memory);
  if (ext->kind == WASMTIME_EXTERN_MEMORY) {
    *size = wt.wasmtime_memory_data_size(store->context, &ext->of.memory);
    return wt.wasmtime_memory_data(store->context, &ext->of.memory);
  }
  *size = wt.wasmtime_sharedmemory_data_size(ext->of.sharedmemory);
  return wt.wasmtime_sharedmemory_data(ext->of.sharedmemory);
}

static int memory_grow(wrt_store *store, const wrt_extern *memory, uint64_t delta, uint64_t *previous,
                       wrt_failure *failure) {
  const wasmtime_extern *ext = unwrap(memory);
  wasmtime_error_t *error =
      ext->kind == WASMTIME_EXTERN_MEMORY
          ? wt.wasmtime_memory_grow(store->context, &ext->of.memory, delta, previous)
          : wt.wasmtime_sharedmemory_grow(ext->of.sharedmemory, delta, previous);
  return error == NULL ? WRT_OK : fail_error(failure, WRT_LIMIT, error);
}

static void global_get(wrt_store *store, const wrt_extern *global, wrt_slot *out) {
  wasmtime_val value;
  wt.wasmtime_global_get(store->context, &unwrap(global)->of.global, &value);
  val_to_slot(store, &value, out);
}

/* The type of a global's value or a table's elements. */
static wrt_type content_type(wrt_store *store, const wrt_extern *item) {
  wrt_extern_type type;
  wrt_failure unused;
  return extern_type(store, item, &type, &unused) == WRT_OK ? type.content : WRT_REF; /* neither can fail */
}

static int global_set(wrt_store *store, const wrt_extern *global, const wrt_slot *slot, wrt_failure *failure) {
  wasmtime_val value;
  val_from_slot(store, content_type(store, global), slot, &value);
  wasmtime_error_t *error = wt.wasmtime_global_set(store->context, &unwrap(global)->of.global, &value);
  wt.wasmtime_val_unroot(&value);
  return error == NULL ? WRT_OK : fail_error(failure, WRT_ERROR, error);
}

static uint64_t table_size(wrt_store *store, const wrt_extern *table) {
  return wt.wasmtime_table_size(store->context, &unwrap(table)->of.table);
}

static bool table_get(wrt_store *store, const wrt_extern *table, uint64_t index, wrt_slot *out) {
  wasmtime_val value;
  if (!wt.wasmtime_table_get(store->context, &unwrap(table)->of.table, index, &value)) return false;
  val_to_slot(store, &value, out);
  return true;
}

static int table_set(wrt_store *store, const wrt_extern *table, uint64_t index, const wrt_slot *slot,
                     wrt_failure *failure) {
  wasmtime_val value;
  val_from_slot(store, content_type(store, table), slot, &value);
  wasmtime_error_t *error = wt.wasmtime_table_set(store->context, &unwrap(table)->of.table, index, &value);
  wt.wasmtime_val_unroot(&value);
  return error == NULL ? WRT_OK : fail_error(failure, WRT_LIMIT, error);
}

static int table_grow(wrt_store *store, const wrt_extern *table, uint64_t delta, const wrt_slot *init,
                      uint64_t *previous, wrt_failure *failure) {
  wasmtime_val value;
  val_from_slot(store, content_type(store, table), init, &value);
  wasmtime_error_t *error =
      wt.wasmtime_table_grow(store->context, &unwrap(table)->of.table, delta, &value, previous);
  wt.wasmtime_val_unroot(&value);
  return error == NULL ? WRT_OK : fail_error(failure, WRT_LIMIT, error);
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
    .function_new = function_new,
    .memory_new = memory_new,
    .table_new = table_new,
    .global_new = global_new,
    .instantiate = instantiate,
    .instance_export = instance_export,
    .caller_export = caller_export,
    .extern_type = extern_type,
    .call = call,
    .memory_data = memory_data,
    .memory_grow = memory_grow,
    .global_get = global_get,
    .global_set = global_set,
    .table_size = table_size,
    .table_get = table_get,
    .table_set = table_set,
    .table_grow = table_grow,
    .function_to_slot = function_to_slot,
    .function_from_slot = function_from_slot,
    .ref_new = ref_new,
    .ref_to_slot = ref_to_slot,
    .ref_delete = ref_delete,
    .ref_data = ref_data,
    .collect = collect,
    .failure_clear = failure_clear,
    .bytes_clear = bytes_clear,
    .type_clear = type_clear,
    .store_poll = store_poll,
    .engine_tick = engine_tick,
    .fuel_set = fuel_set,
    .fuel_get = fuel_get,
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
      TYPE(wasmtime_instance),     FIELD(wasmtime_instance, store_id),   FIELD(wasmtime_instance, private_),
      TYPE(wasmtime_extern),       FIELD(wasmtime_extern, kind),         FIELD(wasmtime_extern, of),
      TYPE(wasmtime_externref),    FIELD(wasmtime_externref, store_id),  FIELD(wasmtime_externref, private1),
      FIELD(wasmtime_externref, private2), FIELD(wasmtime_externref, private3),
      TYPE(wasmtime_val),          FIELD(wasmtime_val, kind),            FIELD(wasmtime_val, of),
      TYPE(wasmtime_val_raw),      TYPE(wasmtime_heaptype),              FIELD(wasmtime_heaptype, kind),
      FIELD(wasmtime_heaptype, of), TYPE(wasmtime_reftype),              FIELD(wasmtime_reftype, nullable),
      FIELD(wasmtime_reftype, heaptype), TYPE(wasmtime_valtype),         FIELD(wasmtime_valtype, kind),
      FIELD(wasmtime_valtype, reftype),
  };
  *out = rows;
  return sizeof rows / sizeof *rows;
}
