/* component.c: the component table over Wasmtime's C API.
 *
 * A component and a linker are Wasmtime's own objects, only cast. Host functions and resources are records that Wasmtime owns
 * with the linker, and then with each store that was instantiated from it; they find the calling store by the data that
 * store_new gave it. A scope keeps the linker's root open for as long as the interface that was begun in it.
 */
#include "component_api.h"
#include "component_tasks.h"

#include <dlfcn.h>
#include <stdio.h>

#include "failures.h"
#include "stack.h"

_Static_assert(sizeof(wasmtime_component_func) <= sizeof(wrt_component_function), "a function fits its opaque form");
_Static_assert(sizeof(wasmtime_component_instance) <= sizeof(wrt_component_instance), "an instance fits its opaque form");

struct wc_functions wc;

struct wrt_linker_scope {
  wasmtime_component_linker_instance_t *root;
  wasmtime_component_linker_instance_t *interface; /* NULL where the scope is the root */
};

const char *wrt_wasmtime_component_load(void) {
  static char problem[256];
  static bool loaded;
  if (loaded) return NULL;
  if (wt.library == NULL) return "Wasmtime's library is not open";
#define LOOK_UP(result, name, parameters)                                                      \
  *(void **)(&wc.name) = dlsym(wt.library, #name);                                             \
  if (wc.name == NULL) {                                                                       \
    snprintf(problem, sizeof problem, "this build of Wasmtime has no function %s", #name);     \
    return problem;                                                                            \
  }
  WASMTIME_COMPONENT_API(LOOK_UP)
  loaded = true;
  return NULL;
}

/* ---- components ---- */

static int compile(wrt_engine *engine, const uint8_t *bytes, size_t size, wrt_component **out, wrt_failure *failure) {
  if (wt_no_stack(COMPILER_STACK, failure)) return WRT_ERROR;
  wasmtime_error_t *error = wc.wasmtime_component_new(engine->engine, bytes, size, (wasmtime_component_t **)out);
  return error == NULL ? WRT_OK : wt_fail_error(failure, WRT_INVALID, error);
}

static int serialize(wrt_component *component, wrt_bytes *out, wrt_failure *failure) {
  wasm_byte_vec blob;
  wasmtime_error_t *error = wc.wasmtime_component_serialize((wasmtime_component_t *)component, &blob);
  return error == NULL ? wt_give_bytes(&blob, out, failure) : wt_fail_error(failure, WRT_ERROR, error);
}

static int deserialize(wrt_engine *engine, const uint8_t *bytes, size_t size, wrt_component **out, wrt_failure *failure) {
  wasmtime_error_t *error = wc.wasmtime_component_deserialize(engine->engine, bytes, size, (wasmtime_component_t **)out);
  return error == NULL ? WRT_OK : wt_fail_error(failure, WRT_INVALID, error);
}

static void component_delete(wrt_component *component) { wc.wasmtime_component_delete((wasmtime_component_t *)component); }

/* ---- linkers ---- */

static int linker_new(wrt_engine *engine, wrt_linker **out, wrt_failure *failure) {
  (void)failure;
  wasmtime_component_linker_t *linker = wc.wasmtime_component_linker_new(engine->engine);
  wc.wasmtime_component_linker_allow_shadowing(linker, true); /* the host may replace parts of WASI */
  *out = (wrt_linker *)linker;
  return WRT_OK;
}

static void linker_delete(wrt_linker *linker) { wc.wasmtime_component_linker_delete((wasmtime_component_linker_t *)linker); }

static int scope_new(wrt_linker *linker, const char *name, size_t size, wrt_linker_scope **out, wrt_failure *failure) {
  wrt_linker_scope *scope = calloc(1, sizeof *scope);
  if (scope == NULL) return wt_fail_memory(failure);
  scope->root = wc.wasmtime_component_linker_root((wasmtime_component_linker_t *)linker);
  if (name != NULL) {
    wasmtime_error_t *error =
        wc.wasmtime_component_linker_instance_add_instance(scope->root, name, size, &scope->interface);
    if (error != NULL) {
      wc.wasmtime_component_linker_instance_delete(scope->root);
      free(scope);
      return wt_fail_error(failure, WRT_LINK, error);
    }
  }
  *out = scope;
  return WRT_OK;
}

static void scope_delete(wrt_linker_scope *scope) {
  if (scope->interface != NULL) wc.wasmtime_component_linker_instance_delete(scope->interface);
  wc.wasmtime_component_linker_instance_delete(scope->root);
  free(scope);
}

static wasmtime_error_t *call_host(void *env, wasmtime_context_t *context, const wasmtime_component_func_type_t *type,
                                   wrt_value *args, size_t arg_count, wrt_value *results, size_t result_count) {
  (void)type;
  host_entry *entry = env;
  wrt_store *store = wt.wasmtime_context_get_data(context);
  if (entry->function(entry->env, store->host, args, arg_count, results, result_count) == WRT_OK) return NULL;
  store->host_failed = true;
  return wt.wasmtime_error_new("host"); /* only unwinds: the host knows the reason */
}

static wasmtime_error_t *drop_host(void *env, wasmtime_context_t *context, uint32_t rep) {
  host_entry *entry = env;
  wrt_store *store = wt.wasmtime_context_get_data(context);
  entry->drop(entry->env, store->host, rep);
  return NULL;
}

static host_entry *entry_new(wrt_component_host function, wrt_component_drop drop, void *env) {
  host_entry *entry = malloc(sizeof *entry);
  if (entry != NULL) *entry = (host_entry){function, drop, env};
  return entry;
}

static wasmtime_component_linker_instance_t *inside(wrt_linker_scope *scope) {
  return scope->interface != NULL ? scope->interface : scope->root;
}

static int define_function(wrt_linker_scope *scope, const char *name, size_t size, wrt_component_host function, void *env,
                           wrt_failure *failure) {
  host_entry *entry = entry_new(function, NULL, env);
  if (entry == NULL) return wt_fail_memory(failure);
  wasmtime_error_t *error =
      wc.wasmtime_component_linker_instance_add_func(inside(scope), name, size, call_host, entry, free);
  return error == NULL ? WRT_OK : wt_fail_error(failure, WRT_LINK, error); /* which has freed the entry */
}

static int define_waiting(wrt_linker_scope *scope, const char *name, size_t size, wrt_component_host function, void *env,
                          wrt_failure *failure) {
  host_entry *entry = entry_new(function, NULL, env);
  if (entry == NULL) return wt_fail_memory(failure);
  wasmtime_error_t *error =
      wc.wasmtime_component_linker_instance_add_func_async(inside(scope), name, size, wc_call_waiting, entry, free);
  return error == NULL ? WRT_OK : wt_fail_error(failure, WRT_LINK, error); /* which has freed the entry */
}

static int define_resource(wrt_linker_scope *scope, const char *name, size_t size, uint32_t type, wrt_component_drop drop,
                           void *env, wrt_failure *failure) {
  host_entry *entry = entry_new(NULL, drop, env);
  if (entry == NULL) return wt_fail_memory(failure);
  wasmtime_component_resource_type_t *resource = wc.wasmtime_component_resource_type_new_host(type);
  wasmtime_error_t *error =
      wc.wasmtime_component_linker_instance_add_resource(inside(scope), name, size, resource, drop_host, entry, free);
  wc.wasmtime_component_resource_type_delete(resource);
  return error == NULL ? WRT_OK : wt_fail_error(failure, WRT_LINK, error);
}

static int define_wasi(wrt_linker *linker, bool http, wrt_failure *failure) {
  wasmtime_error_t *error = wc.wasmtime_component_linker_add_wasip2((wasmtime_component_linker_t *)linker);
  if (error == NULL && http) error = wc.wasmtime_component_linker_add_wasi_http((wasmtime_component_linker_t *)linker);
  return error == NULL ? WRT_OK : wt_fail_error(failure, WRT_LINK, error);
}

/* ---- stores ---- */

static void store_bind(wrt_store *store, void *host) { store->host = host; }

static bool configure(wasi_config_t *config, const wrt_component_wasi *wasi) {
  bool fits = wc.wasi_config_set_argv(config, wasi->arg_count, wasi->args) &&
              wc.wasi_config_set_env(config, wasi->env_count, wasi->env_names, wasi->env_values);
  for (size_t i = 0; fits && i < wasi->directory_count; i++)
    fits = wc.wasi_config_preopen_dir(config, wasi->host_paths[i], wasi->guest_paths[i], wasi->writable[i]);
  if (wasi->inherit_stdin) {
    wc.wasi_config_inherit_stdin(config);
  } else if (wasi->stdin_data != NULL) {
    wrt_text text;
    wc.wasm_byte_vec_new(&text, wasi->stdin_size, wasi->stdin_data);
    wc.wasi_config_set_stdin_bytes(config, &text);
  }
  if (wasi->inherit_stdout) wc.wasi_config_inherit_stdout(config);
  if (wasi->inherit_stderr) wc.wasi_config_inherit_stderr(config);
  if (wasi->out != NULL) wc.wasi_config_set_stdout_custom(config, wasi->out, wasi->out_env, NULL);
  if (wasi->err != NULL) wc.wasi_config_set_stderr_custom(config, wasi->err, wasi->err_env, NULL);
  if (wasi->network) wc.wasi_config_inherit_network(config);
  wc.wasi_config_allow_ip_name_lookup(config, wasi->network);
  return fits;
}

static int store_wasi(wrt_store *store, const wrt_component_wasi *wasi, wrt_failure *failure) {
  wasi_config_t *config = wc.wasi_config_new();
  if (!configure(config, wasi)) {
    wc.wasi_config_delete(config);
    return wt_fail(failure, WRT_ERROR, "Wasmtime took no such arguments, variables or directories");
  }
  wasmtime_error_t *error = wc.wasmtime_context_set_wasi(store->context, config); /* takes it */
  if (error != NULL) return wt_fail_error(failure, WRT_ERROR, error);
  if (wasi->http) wc.wasmtime_context_set_wasi_http(store->context);
  return WRT_OK;
}

/* An error that ended guest code. Wasmtime does not hand out its code, so traps are recognised by their text. */
static int fail_call(wrt_store *store, wrt_failure *failure, int result, wasmtime_error_t *error) {
  int status;
  if (!store->host_failed && wc.wasmtime_error_exit_status(error, &status)) {
    wt.wasmtime_error_delete(error);
    *failure = (wrt_failure){.status = status};
    return WRT_EXIT;
  }
  return wt_fail_traced(store, failure, result, error);
}

static int instantiate(wrt_store *store, wrt_linker *linker, wrt_component *component, wrt_component_instance *out,
                       wrt_failure *failure) {
  wasmtime_component_instance instance = {0};
  wasmtime_error_t *error = wc.wasmtime_component_linker_instantiate(
      (wasmtime_component_linker_t *)linker, store->context, (wasmtime_component_t *)component, &instance);
  if (error != NULL) return fail_call(store, failure, WRT_LINK, error);
  memcpy(out, &instance, sizeof instance);
  return WRT_OK;
}

static bool instance_function(wrt_store *store, const wrt_component_instance *instance, const char *interface,
                              size_t interface_size, const char *name, size_t size, wrt_component_function *out) {
  const wasmtime_component_instance *in = (const wasmtime_component_instance *)instance;
  wasmtime_component_export_index_t *outer = NULL, *index;
  if (interface != NULL) {
    outer = wc.wasmtime_component_instance_get_export_index(in, store->context, NULL, interface, interface_size);
    if (outer == NULL) return false;
  }
  index = wc.wasmtime_component_instance_get_export_index(in, store->context, outer, name, size);
  if (outer != NULL) wc.wasmtime_component_export_index_delete(outer);
  if (index == NULL) return false;
  wasmtime_component_func function = {0};
  bool found = wc.wasmtime_component_instance_get_func(in, store->context, index, &function);
  wc.wasmtime_component_export_index_delete(index);
  if (found) memcpy(out, &function, sizeof function);
  return found;
}

static int call(wrt_store *store, const wrt_component_function *function, const wrt_value *args, size_t arg_count,
                wrt_value *results, size_t result_count, wrt_failure *failure) {
  wasmtime_error_t *error = wc.wasmtime_component_func_call((const wasmtime_component_func *)function, store->context, args,
                                                            arg_count, results, result_count);
  if (__builtin_expect(error == NULL, 1)) return WRT_OK;
  return fail_call(store, failure, WRT_TRAP, error);
}

/* ---- values ---- */

static void list_new(wrt_values *out, size_t size) { wc.wasmtime_component_vallist_new_uninit(out, size); }
static void fields_new(wrt_fields *out, size_t size) { wc.wasmtime_component_valrecord_new_uninit(out, size); }
static void texts_new(wrt_texts *out, size_t size) { wc.wasmtime_component_valflags_new_uninit(out, size); }
static void text_new(wrt_text *out, const char *data, size_t size) { wc.wasm_byte_vec_new(out, size, data); }
static wrt_value *box_new(wrt_value *value) { return wc.wasmtime_component_val_new(value); }
static void value_clear(wrt_value *value) { wc.wasmtime_component_val_delete(value); }

/* ---- resources ---- */

static int resource_new(wrt_store *store, uint32_t type, uint32_t rep, bool owned, wrt_resource **out,
                        wrt_failure *failure) {
  wasmtime_component_resource_host_t *host = wc.wasmtime_component_resource_host_new(owned, rep, type);
  wasmtime_error_t *error = wc.wasmtime_component_resource_host_to_any(store->context, host, out);
  wc.wasmtime_component_resource_host_delete(host);
  return error == NULL ? WRT_OK : wt_fail_error(failure, WRT_ERROR, error);
}

static int resource_rep(wrt_store *store, const wrt_resource *resource, uint32_t *rep, bool *owned, wrt_failure *failure) {
  wasmtime_component_resource_host_t *host = NULL;
  wasmtime_error_t *error = wc.wasmtime_component_resource_any_to_host(store->context, resource, &host);
  if (error != NULL) return wt_fail_error(failure, WRT_ERROR, error);
  *rep = wc.wasmtime_component_resource_host_rep(host);
  *owned = wc.wasmtime_component_resource_host_owned(host);
  wc.wasmtime_component_resource_host_delete(host);
  return WRT_OK;
}

static wrt_resource *resource_copy(const wrt_resource *resource) {
  return wc.wasmtime_component_resource_any_clone(resource);
}

static int resource_drop(wrt_store *store, const wrt_resource *resource, wrt_failure *failure) {
  wasmtime_error_t *error = wc.wasmtime_component_resource_any_drop(store->context, resource);
  return error == NULL ? WRT_OK : fail_call(store, failure, WRT_TRAP, error);
}

static void resource_delete(wrt_resource *resource) { wc.wasmtime_component_resource_any_delete(resource); }

/* ---- the table ---- */

static const wrt_component_ops ops = {
    .version = WRT_COMPONENT_VERSION,
    .name = "wasmtime",
    .compile = compile,
    .serialize = serialize,
    .deserialize = deserialize,
    .component_delete = component_delete,
    .linker_new = linker_new,
    .linker_delete = linker_delete,
    .scope_new = scope_new,
    .scope_delete = scope_delete,
    .define_function = define_function,
    .define_resource = define_resource,
    .define_wasi = define_wasi,
    .store_bind = store_bind,
    .store_wasi = store_wasi,
    .instantiate = instantiate,
    .instance_function = instance_function,
    .call = call,
    .list_new = list_new,
    .fields_new = fields_new,
    .texts_new = texts_new,
    .text_new = text_new,
    .box_new = box_new,
    .value_clear = value_clear,
    .resource_new = resource_new,
    .resource_rep = resource_rep,
    .resource_copy = resource_copy,
    .resource_drop = resource_drop,
    .resource_delete = resource_delete,
    .define_waiting = define_waiting,
    .instantiate_begin = wc_instantiate_begin,
    .call_begin = wc_call_begin,
};

const wrt_component_ops *wrt_wasmtime_component_ops(void) { return &ops; }

/* ---- the layout that the ABI test compares; the names are Wasmtime's, the structs those of wrt_component.h ---- */

#define TYPE(name, type) {name, NULL, _Alignof(type), sizeof(type)}
#define FIELD(name, type, field, ours) {name, field, offsetof(type, ours), sizeof(((type *)0)->ours)}

size_t wrt_wasmtime_component_layout(const wrt_layout **out) {
  static const wrt_layout rows[] = {
      TYPE("wasmtime_component_val", wrt_value),
      FIELD("wasmtime_component_val", wrt_value, "kind", kind),
      FIELD("wasmtime_component_val", wrt_value, "of", of),
      TYPE("wasmtime_component_vallist", wrt_values),
      FIELD("wasmtime_component_vallist", wrt_values, "size", size),
      FIELD("wasmtime_component_vallist", wrt_values, "data", data),
      TYPE("wasmtime_component_valtuple", wrt_values),
      TYPE("wasmtime_component_valrecord", wrt_fields),
      FIELD("wasmtime_component_valrecord", wrt_fields, "data", data),
      TYPE("wasmtime_component_valrecord_entry", wrt_field),
      FIELD("wasmtime_component_valrecord_entry", wrt_field, "name", name),
      FIELD("wasmtime_component_valrecord_entry", wrt_field, "val", value),
      TYPE("wasmtime_component_valflags", wrt_texts),
      FIELD("wasmtime_component_valflags", wrt_texts, "data", data),
      TYPE("wasmtime_component_valvariant", wrt_variant),
      FIELD("wasmtime_component_valvariant", wrt_variant, "discriminant", name),
      FIELD("wasmtime_component_valvariant", wrt_variant, "val", payload),
      TYPE("wasmtime_component_valresult", wrt_outcome),
      FIELD("wasmtime_component_valresult", wrt_outcome, "is_ok", is_ok),
      FIELD("wasmtime_component_valresult", wrt_outcome, "val", payload),
      TYPE("wasmtime_component_valunion", wrt_value_content),
      TYPE("wasmtime_component_func", wasmtime_component_func),
      FIELD("wasmtime_component_func", wasmtime_component_func, "__private2", private2),
      FIELD("wasmtime_component_func", wasmtime_component_func, "__private3", private3),
      TYPE("wasmtime_component_instance", wasmtime_component_instance),
      FIELD("wasmtime_component_instance", wasmtime_component_instance, "store_id", store_id),
      FIELD("wasmtime_component_instance", wasmtime_component_instance, "__private", private_),
  };
  *out = rows;
  return sizeof rows / sizeof *rows;
}
