/* component_api.h: the part of the Wasmtime C API for components, as api.h has the part for modules.
 *
 * The structs of values are those of wrt_component.h, which took their layout over; the rest is here. All are those of Wasmtime
 * 50. tests/runtimes/test_component_abi.py compares them with the declarations of the installed package.
 */
#ifndef WRT_WASMTIME_COMPONENT_API_H
#define WRT_WASMTIME_COMPONENT_API_H

#include "objects.h"
#include "wrt_component.h"

typedef struct wasmtime_component_t wasmtime_component_t;
typedef struct wasmtime_component_linker_t wasmtime_component_linker_t;
typedef struct wasmtime_component_linker_instance_t wasmtime_component_linker_instance_t;
typedef struct wasmtime_component_export_index_t wasmtime_component_export_index_t;
typedef struct wasmtime_component_func_type_t wasmtime_component_func_type_t;
typedef struct wasmtime_component_resource_type_t wasmtime_component_resource_type_t;
typedef struct wasmtime_component_resource_host_t wasmtime_component_resource_host_t;
typedef struct wasi_config_t wasi_config_t;

typedef struct wasmtime_component_func {
  struct {
    uint64_t store_id;
    uint32_t private1;
  };
  uint32_t private2;
  void *private3;
} wasmtime_component_func;

typedef struct wasmtime_component_instance {
  uint64_t store_id;
  uint32_t private_;
} wasmtime_component_instance;

typedef wasmtime_error_t *(*wasmtime_component_func_callback)(void *env, wasmtime_context_t *context,
                                                              const wasmtime_component_func_type_t *type, wrt_value *args,
                                                              size_t arg_count, wrt_value *results, size_t result_count);
typedef void (*wasmtime_component_func_async_callback)(void *env, wasmtime_context_t *context,
                                                       const wasmtime_component_func_type_t *type, wrt_value *args,
                                                       size_t arg_count, wrt_value *results, size_t result_count,
                                                       wasmtime_error_t **error, wasmtime_async_continuation *continuation);
typedef wasmtime_error_t *(*wasmtime_component_resource_destructor)(void *env, wasmtime_context_t *context, uint32_t rep);
typedef ptrdiff_t (*wasi_write_callback)(void *env, const unsigned char *data, size_t size);

/* X(result, name, (parameters)) */
#define WASMTIME_COMPONENT_API(X)                                                                                       \
  X(wasmtime_error_t *, wasmtime_component_new, (const wasm_engine_t *, const uint8_t *, size_t, wasmtime_component_t **)) \
  X(wasmtime_error_t *, wasmtime_component_serialize, (const wasmtime_component_t *, wasm_byte_vec *))                  \
  X(wasmtime_error_t *, wasmtime_component_deserialize,                                                                 \
    (const wasm_engine_t *, const uint8_t *, size_t, wasmtime_component_t **))                                          \
  X(void, wasmtime_component_delete, (wasmtime_component_t *))                                                          \
  X(wasmtime_component_linker_t *, wasmtime_component_linker_new, (const wasm_engine_t *))                              \
  X(void, wasmtime_component_linker_delete, (wasmtime_component_linker_t *))                                            \
  X(void, wasmtime_component_linker_allow_shadowing, (wasmtime_component_linker_t *, bool))                             \
  X(wasmtime_component_linker_instance_t *, wasmtime_component_linker_root, (wasmtime_component_linker_t *))            \
  X(wasmtime_error_t *, wasmtime_component_linker_instance_add_instance,                                                \
    (wasmtime_component_linker_instance_t *, const char *, size_t, wasmtime_component_linker_instance_t **))            \
  X(void, wasmtime_component_linker_instance_delete, (wasmtime_component_linker_instance_t *))                          \
  X(wasmtime_error_t *, wasmtime_component_linker_instance_add_func,                                                    \
    (wasmtime_component_linker_instance_t *, const char *, size_t, wasmtime_component_func_callback, void *,            \
     void (*)(void *)))                                                                                                 \
  X(wasmtime_error_t *, wasmtime_component_linker_instance_add_func_async,                                              \
    (wasmtime_component_linker_instance_t *, const char *, size_t, wasmtime_component_func_async_callback, void *,      \
     void (*)(void *)))                                                                                                 \
  X(wasmtime_error_t *, wasmtime_component_linker_instance_add_resource,                                                \
    (wasmtime_component_linker_instance_t *, const char *, size_t, const wasmtime_component_resource_type_t *,          \
     wasmtime_component_resource_destructor, void *, void (*)(void *)))                                                 \
  X(wasmtime_error_t *, wasmtime_component_linker_add_wasip2, (wasmtime_component_linker_t *))                          \
  X(wasmtime_error_t *, wasmtime_component_linker_add_wasi_http, (wasmtime_component_linker_t *))                       \
  X(wasmtime_error_t *, wasmtime_component_linker_instantiate,                                                          \
    (const wasmtime_component_linker_t *, wasmtime_context_t *, const wasmtime_component_t *,                           \
     wasmtime_component_instance *))                                                                                    \
  X(wasmtime_call_future_t *, wasmtime_component_linker_instantiate_async,                                              \
    (const wasmtime_component_linker_t *, wasmtime_context_t *, const wasmtime_component_t *,                           \
     wasmtime_component_instance *, wasmtime_error_t **))                                                               \
  X(wasmtime_component_export_index_t *, wasmtime_component_instance_get_export_index,                                  \
    (const wasmtime_component_instance *, wasmtime_context_t *, const wasmtime_component_export_index_t *, const char *, \
     size_t))                                                                                                           \
  X(void, wasmtime_component_export_index_delete, (wasmtime_component_export_index_t *))                                \
  X(bool, wasmtime_component_instance_get_func,                                                                         \
    (const wasmtime_component_instance *, wasmtime_context_t *, const wasmtime_component_export_index_t *,              \
     wasmtime_component_func *))                                                                                        \
  X(wasmtime_error_t *, wasmtime_component_func_call,                                                                   \
    (const wasmtime_component_func *, wasmtime_context_t *, const wrt_value *, size_t, wrt_value *, size_t))            \
  X(wasmtime_call_future_t *, wasmtime_component_func_call_async,                                                       \
    (const wasmtime_component_func *, wasmtime_context_t *, const wrt_value *, size_t, wrt_value *, size_t,             \
     wasmtime_error_t **))                                                                                              \
  X(wasmtime_component_resource_type_t *, wasmtime_component_resource_type_new_host, (uint32_t))                        \
  X(void, wasmtime_component_resource_type_delete, (wasmtime_component_resource_type_t *))                              \
  X(wasmtime_component_resource_host_t *, wasmtime_component_resource_host_new, (bool, uint32_t, uint32_t))             \
  X(uint32_t, wasmtime_component_resource_host_rep, (const wasmtime_component_resource_host_t *))                       \
  X(bool, wasmtime_component_resource_host_owned, (const wasmtime_component_resource_host_t *))                         \
  X(void, wasmtime_component_resource_host_delete, (wasmtime_component_resource_host_t *))                              \
  X(wasmtime_error_t *, wasmtime_component_resource_any_to_host,                                                        \
    (wasmtime_context_t *, const wrt_resource *, wasmtime_component_resource_host_t **))                                \
  X(wasmtime_error_t *, wasmtime_component_resource_host_to_any,                                                        \
    (wasmtime_context_t *, const wasmtime_component_resource_host_t *, wrt_resource **))                                \
  X(wrt_resource *, wasmtime_component_resource_any_clone, (const wrt_resource *))                                      \
  X(wasmtime_error_t *, wasmtime_component_resource_any_drop, (wasmtime_context_t *, const wrt_resource *))             \
  X(void, wasmtime_component_resource_any_delete, (wrt_resource *))                                                     \
  X(void, wasmtime_component_vallist_new_uninit, (wrt_values *, size_t))                                                \
  X(void, wasmtime_component_valrecord_new_uninit, (wrt_fields *, size_t))                                              \
  X(void, wasmtime_component_valflags_new_uninit, (wrt_texts *, size_t))                                                \
  X(void, wasm_byte_vec_new, (wrt_text *, size_t, const char *))                                                        \
  X(wrt_value *, wasmtime_component_val_new, (wrt_value *))                                                             \
  X(void, wasmtime_component_val_delete, (wrt_value *))                                                                 \
  X(bool, wasmtime_error_exit_status, (const wasmtime_error_t *, int *))                                                \
  X(wasmtime_error_t *, wasmtime_context_set_wasi, (wasmtime_context_t *, wasi_config_t *))                             \
  X(void, wasmtime_context_set_wasi_http, (wasmtime_context_t *))                                                       \
  X(wasi_config_t *, wasi_config_new, (void))                                                                           \
  X(void, wasi_config_delete, (wasi_config_t *))                                                                        \
  X(void, wasi_config_inherit_network, (wasi_config_t *))                                                               \
  X(void, wasi_config_allow_ip_name_lookup, (wasi_config_t *, bool))                                                    \
  X(bool, wasi_config_set_argv, (wasi_config_t *, size_t, const char *[]))                                              \
  X(bool, wasi_config_set_env, (wasi_config_t *, size_t, const char *[], const char *[]))                               \
  X(void, wasi_config_inherit_stdin, (wasi_config_t *))                                                                 \
  X(void, wasi_config_set_stdin_bytes, (wasi_config_t *, wrt_text *))                                                   \
  X(void, wasi_config_inherit_stdout, (wasi_config_t *))                                                                \
  X(void, wasi_config_inherit_stderr, (wasi_config_t *))                                                                \
  X(void, wasi_config_set_stdout_custom, (wasi_config_t *, wasi_write_callback, void *, void (*)(void *)))              \
  X(void, wasi_config_set_stderr_custom, (wasi_config_t *, wasi_write_callback, void *, void (*)(void *)))              \
  X(bool, wasi_config_preopen_dir, (wasi_config_t *, const char *, const char *, bool))

/* ---- the functions, looked up once by wrt_wasmtime_component_load ---- */

#pragma GCC visibility push(hidden)

#define DECLARE_COMPONENT_FUNCTION(result, name, parameters) result(*name) parameters;
extern struct wc_functions {
  WASMTIME_COMPONENT_API(DECLARE_COMPONENT_FUNCTION)
} wc;

#pragma GCC visibility pop

#endif
