/* api.h: the part of the Wasmtime C API that engine.c uses.
 *
 * Wasmtime's library is opened at run time, so its functions are pointers in one table (`wt`), looked up by name. The list
 * below is the only place that names them. The structs are those of Wasmtime 48 to 50; tests/runtimes/test_wasmtime_abi.py
 * compares them, and the signatures' arity, with the declarations of the installed package.
 */
#ifndef WRT_WASMTIME_API_H
#define WRT_WASMTIME_API_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Objects that are opaque outside Wasmtime. */
typedef struct wasm_config_t wasm_config_t;
typedef struct wasmtime_pooling_allocation_config_t wasmtime_pool_config_t;
typedef struct wasm_engine_t wasm_engine_t;
typedef struct wasm_trap_t wasm_trap_t;
typedef struct wasm_frame_t wasm_frame_t;
typedef struct wasm_valtype_t wasm_valtype_t;
typedef struct wasm_functype_t wasm_functype_t;
typedef struct wasm_globaltype_t wasm_globaltype_t;
typedef struct wasm_tabletype_t wasm_tabletype_t;
typedef struct wasm_memorytype_t wasm_memorytype_t;
typedef struct wasm_externtype_t wasm_externtype_t;
typedef struct wasm_tagtype_t wasm_tagtype_t;
typedef struct wasmtime_store_t wasmtime_store_t;
typedef struct wasmtime_context_t wasmtime_context_t;
typedef struct wasmtime_module_t wasmtime_module_t;
typedef struct wasmtime_error_t wasmtime_error_t;
typedef struct wasmtime_caller_t wasmtime_caller_t;
typedef struct wasmtime_sharedmemory_t wasmtime_sharedmemory_t;
typedef struct wasmtime_linker_t wasmtime_linker_t;
typedef struct wasmtime_instance_pre_t wasmtime_instance_pre_t;
typedef struct wasmtime_call_future_t wasmtime_call_future_t;
typedef struct wasm_importtype_t wasm_importtype_t;
typedef struct wasmtime_guestprofiler wasmtime_guestprofiler_t;

typedef struct wasm_byte_vec {
  size_t size;
  char *data;
} wasm_byte_vec;

typedef struct wasm_frame_vec {
  size_t size;
  wasm_frame_t **data;
} wasm_frame_vec;

typedef struct wasm_valtype_vec {
  size_t size;
  wasm_valtype_t **data;
} wasm_valtype_vec;

typedef struct wasm_importtype_vec {
  size_t size;
  wasm_importtype_t **data;
} wasm_importtype_vec;

typedef struct wasmtime_guestprofiler_modules {
  const wasm_byte_vec *name;
  const wasmtime_module_t *mod;
} wasmtime_guestprofiler_modules;

typedef struct wasm_limits {
  uint32_t min;
  uint32_t max;
} wasm_limits;

enum { WASM_LIMITS_NO_MAX = -1, WASM_VALKIND_EXTERNREF = 128, WASM_VALKIND_FUNCREF = 129 };
enum { WASM_EXTERN_FUNC, WASM_EXTERN_GLOBAL, WASM_EXTERN_TABLE, WASM_EXTERN_MEMORY, WASM_EXTERN_TAG };

typedef struct wasmtime_func {
  uint64_t store_id;
  void *private_;
} wasmtime_func;

typedef struct wasmtime_table {
  struct {
    uint64_t store_id;
    uint32_t private1;
  };
  uint32_t private2;
} wasmtime_table;

typedef wasmtime_table wasmtime_memory;
typedef wasmtime_table wasmtime_tag;

typedef struct wasmtime_global {
  uint64_t store_id;
  uint32_t private1;
  uint32_t private2;
  uint32_t private3;
} wasmtime_global;

typedef struct wasmtime_instance {
  uint64_t store_id;
  size_t private_;
} wasmtime_instance;

enum {
  WASMTIME_EXTERN_FUNC,
  WASMTIME_EXTERN_GLOBAL,
  WASMTIME_EXTERN_TABLE,
  WASMTIME_EXTERN_MEMORY,
  WASMTIME_EXTERN_SHAREDMEMORY,
  WASMTIME_EXTERN_TAG
};

typedef struct wasmtime_extern {
  uint8_t kind;
  union {
    wasmtime_func func;
    wasmtime_global global;
    wasmtime_table table;
    wasmtime_memory memory;
    wasmtime_tag tag;
    wasmtime_sharedmemory_t *sharedmemory;
  } of;
} wasmtime_extern;

typedef struct wasmtime_externref {
  uint64_t store_id;
  uint32_t private1;
  uint32_t private2;
  void *private3;
} wasmtime_externref;

typedef wasmtime_externref wasmtime_exnref;
/* References to structs and arrays have the same form, and are declared below with this type. */
typedef wasmtime_externref wasmtime_anyref;

enum {
  WASMTIME_I32,
  WASMTIME_I64,
  WASMTIME_F32,
  WASMTIME_F64,
  WASMTIME_V128,
  WASMTIME_FUNCREF,
  WASMTIME_EXTERNREF,
  WASMTIME_ANYREF,
  WASMTIME_EXNREF
};

typedef struct wasmtime_val {
  uint8_t kind;
  union {
    int32_t i32;
    int64_t i64;
    float f32;
    double f64;
    uint8_t v128[16];
    wasmtime_func funcref;
    wasmtime_externref externref;
    wasmtime_anyref anyref;
    wasmtime_exnref exnref;
  } of;
} wasmtime_val;

typedef union wasmtime_val_raw {
  int32_t i32;
  int64_t i64;
  float f32;
  double f64;
  uint8_t v128[16];
  uint32_t externref;
  void *funcref;
} wasmtime_val_raw;

enum {
  WASMTIME_HEAPTYPE_EXTERN,
  WASMTIME_HEAPTYPE_NOEXTERN,
  WASMTIME_HEAPTYPE_FUNC,
  WASMTIME_HEAPTYPE_CONCRETE_FUNC,
  WASMTIME_HEAPTYPE_NOFUNC,
  WASMTIME_HEAPTYPE_ANY,
  WASMTIME_HEAPTYPE_NONE,
  WASMTIME_HEAPTYPE_EQ,
  WASMTIME_HEAPTYPE_I31,
  WASMTIME_HEAPTYPE_ARRAY,
  WASMTIME_HEAPTYPE_CONCRETE_ARRAY,
  WASMTIME_HEAPTYPE_STRUCT,
  WASMTIME_HEAPTYPE_CONCRETE_STRUCT,
  WASMTIME_HEAPTYPE_EXN,
  WASMTIME_HEAPTYPE_CONCRETE_EXN,
  WASMTIME_HEAPTYPE_NOEXN
};
enum { WASMTIME_VALTYPE_REF = 5 };

typedef struct wasmtime_heaptype {
  uint8_t kind;
  void *of;
} wasmtime_heaptype;

typedef struct wasmtime_reftype {
  bool nullable;
  wasmtime_heaptype heaptype;
} wasmtime_reftype;

typedef struct wasmtime_valtype {
  uint8_t kind;
  wasmtime_reftype reftype;
} wasmtime_valtype;

typedef wasm_trap_t *(*wasmtime_func_unchecked_callback)(void *env, wasmtime_caller_t *caller, wasmtime_val_raw *slots,
                                                         size_t count);

typedef wasm_trap_t *(*wasmtime_func_callback)(void *env, wasmtime_caller_t *caller, const wasmtime_val *args, size_t nargs,
                                               wasmtime_val *results, size_t nresults);

typedef wasmtime_error_t *(*wasmtime_epoch_callback)(wasmtime_context_t *context, void *env, uint64_t *delta,
                                                     uint8_t *kind);

/* Called for an asynchronous host function until it returns true: then the results, or the trap, are in their places. */
typedef struct wasmtime_async_continuation {
  bool (*callback)(void *env);
  void *env;
  void (*finalizer)(void *env);
} wasmtime_async_continuation;

typedef void (*wasmtime_func_async_callback)(void *env, wasmtime_caller_t *caller, const wasmtime_val *args, size_t nargs,
                                             wasmtime_val *results, size_t nresults, wasm_trap_t **trap,
                                             wasmtime_async_continuation *continuation);

enum { WASMTIME_UPDATE_DEADLINE_CONTINUE, WASMTIME_UPDATE_DEADLINE_YIELD };

/* X(result, name, (parameters)) */
#define WASMTIME_API(X)                                                                                                 \
  X(wasm_config_t *, wasm_config_new, (void))                                                                           \
  X(void, wasm_config_delete, (wasm_config_t *))                                                                        \
  X(wasmtime_pool_config_t *, wasmtime_pooling_allocation_config_new, (void))                                           \
  X(void, wasmtime_pooling_allocation_config_delete, (wasmtime_pool_config_t *))                                        \
  X(void, wasmtime_pooling_allocation_strategy_set, (wasm_config_t *, const wasmtime_pool_config_t *))                  \
  X(wasm_engine_t *, wasm_engine_new_with_config, (wasm_config_t *))                                                    \
  X(void, wasm_engine_delete, (wasm_engine_t *))                                                                        \
  X(void, wasm_byte_vec_delete, (wasm_byte_vec *))                                                                      \
  X(void, wasm_frame_vec_delete, (wasm_frame_vec *))                                                                    \
  X(uint32_t, wasm_frame_func_index, (const wasm_frame_t *))                                                            \
  X(size_t, wasm_frame_func_offset, (const wasm_frame_t *))                                                             \
  X(size_t, wasm_frame_module_offset, (const wasm_frame_t *))                                                           \
  X(const wasm_byte_vec *, wasmtime_frame_func_name, (const wasm_frame_t *))                                            \
  X(const wasm_byte_vec *, wasmtime_frame_module_name, (const wasm_frame_t *))                                          \
  X(wasm_trap_t *, wasmtime_trap_new, (const char *, size_t))                                                           \
  X(void, wasm_trap_delete, (wasm_trap_t *))                                                                            \
  X(void, wasm_trap_message, (const wasm_trap_t *, wasm_byte_vec *))                                                    \
  X(void, wasm_trap_trace, (const wasm_trap_t *, wasm_frame_vec *))                                                     \
  X(bool, wasmtime_trap_code, (const wasm_trap_t *, uint8_t *))                                                         \
  X(void, wasmtime_error_delete, (wasmtime_error_t *))                                                                  \
  X(void, wasmtime_error_message, (const wasmtime_error_t *, wasm_byte_vec *))                                          \
  X(void, wasmtime_error_wasm_trace, (const wasmtime_error_t *, wasm_frame_vec *))                                      \
  X(void, wasm_valtype_vec_new_uninitialized, (wasm_valtype_vec *, size_t))                                             \
  X(wasm_valtype_t *, wasm_valtype_new, (uint8_t))                                                                      \
  X(wasm_valtype_t *, wasmtime_wasm_valtype_v128, (void))                                                               \
  X(void, wasmtime_valtype_new, (const wasm_valtype_t *, wasmtime_valtype *))                                           \
  X(void, wasmtime_valtype_delete, (wasmtime_valtype *))                                                                \
  X(wasm_functype_t *, wasm_functype_new, (wasm_valtype_vec *, wasm_valtype_vec *))                                     \
  X(void, wasm_functype_delete, (wasm_functype_t *))                                                                    \
  X(const wasm_valtype_vec *, wasm_functype_params, (const wasm_functype_t *))                                          \
  X(const wasm_valtype_vec *, wasm_functype_results, (const wasm_functype_t *))                                         \
  X(wasm_globaltype_t *, wasm_globaltype_new, (wasm_valtype_t *, uint8_t))                                              \
  X(void, wasm_globaltype_delete, (wasm_globaltype_t *))                                                                \
  X(const wasm_valtype_t *, wasm_globaltype_content, (const wasm_globaltype_t *))                                       \
  X(uint8_t, wasm_globaltype_mutability, (const wasm_globaltype_t *))                                                   \
  X(wasm_tabletype_t *, wasm_tabletype_new, (wasm_valtype_t *, const wasm_limits *))                                    \
  X(void, wasm_tabletype_delete, (wasm_tabletype_t *))                                                                  \
  X(const wasm_valtype_t *, wasm_tabletype_element, (const wasm_tabletype_t *))                                         \
  X(wasmtime_error_t *, wasmtime_memorytype_new,                                                                        \
    (uint64_t, bool, uint64_t, bool, bool, uint8_t, wasm_memorytype_t **))                                              \
  X(void, wasm_memorytype_delete, (wasm_memorytype_t *))                                                                \
  X(uint64_t, wasmtime_memorytype_minimum, (const wasm_memorytype_t *))                                                 \
  X(bool, wasmtime_memorytype_maximum, (const wasm_memorytype_t *, uint64_t *))                                         \
  X(bool, wasmtime_memorytype_is64, (const wasm_memorytype_t *))                                                        \
  X(bool, wasmtime_memorytype_isshared, (const wasm_memorytype_t *))                                                    \
  X(uint64_t, wasmtime_memorytype_page_size, (const wasm_memorytype_t *))                                               \
  X(wasmtime_error_t *, wasmtime_module_new, (wasm_engine_t *, const uint8_t *, size_t, wasmtime_module_t **))          \
  X(wasmtime_error_t *, wasmtime_module_validate, (wasm_engine_t *, const uint8_t *, size_t))                           \
  X(wasmtime_error_t *, wasmtime_module_serialize, (const wasmtime_module_t *, wasm_byte_vec *))                        \
  X(wasmtime_error_t *, wasmtime_module_deserialize, (wasm_engine_t *, const uint8_t *, size_t, wasmtime_module_t **))  \
  X(void, wasmtime_module_delete, (wasmtime_module_t *))                                                                \
  X(wasmtime_error_t *, wasmtime_wat2wasm, (const char *, size_t, wasm_byte_vec *))                                     \
  X(wasmtime_store_t *, wasmtime_store_new, (wasm_engine_t *, void *, void (*)(void *)))                                \
  X(wasmtime_context_t *, wasmtime_store_context, (wasmtime_store_t *))                                                 \
  X(void, wasmtime_store_limiter, (wasmtime_store_t *, int64_t, int64_t, int64_t, int64_t, int64_t))                    \
  X(void, wasmtime_store_delete, (wasmtime_store_t *))                                                                  \
  X(void, wasmtime_engine_increment_epoch, (const wasm_engine_t *))                                                     \
  X(void, wasmtime_context_set_epoch_deadline, (wasmtime_context_t *, uint64_t))                                        \
  X(void, wasmtime_store_epoch_deadline_callback,                                                                       \
    (wasmtime_store_t *, wasmtime_epoch_callback, void *, void (*)(void *)))                                            \
  X(wasmtime_error_t *, wasmtime_error_new, (const char *))                                                             \
  X(wasmtime_error_t *, wasmtime_context_set_fuel, (wasmtime_context_t *, uint64_t))                                    \
  X(wasmtime_error_t *, wasmtime_context_get_fuel, (const wasmtime_context_t *, uint64_t *))                            \
  X(wasmtime_error_t *, wasmtime_context_gc, (wasmtime_context_t *))                                                    \
  X(wasm_tagtype_t *, wasm_tagtype_new, (wasm_functype_t *))                                                            \
  X(void, wasm_tagtype_delete, (wasm_tagtype_t *))                                                                      \
  X(const wasm_functype_t *, wasm_tagtype_functype, (const wasm_tagtype_t *))                                           \
  X(wasmtime_error_t *, wasmtime_tag_new, (wasmtime_context_t *, const wasm_tagtype_t *, wasmtime_tag *))               \
  X(wasm_tagtype_t *, wasmtime_tag_type, (const wasmtime_context_t *, const wasmtime_tag *))                            \
  X(bool, wasmtime_context_take_exception, (wasmtime_context_t *, wasmtime_exnref *))                                   \
  X(wasm_trap_t *, wasmtime_context_set_exception, (wasmtime_context_t *, const wasmtime_exnref *))                     \
  X(wasmtime_error_t *, wasmtime_exnref_new,                                                                            \
    (wasmtime_context_t *, const wasmtime_tag *, const wasmtime_val *, size_t, wasmtime_exnref *))                      \
  X(wasmtime_error_t *, wasmtime_exnref_tag, (wasmtime_context_t *, const wasmtime_exnref *, wasmtime_tag *))           \
  X(size_t, wasmtime_exnref_field_count, (wasmtime_context_t *, const wasmtime_exnref *))                               \
  X(wasmtime_error_t *, wasmtime_exnref_field,                                                                          \
    (wasmtime_context_t *, const wasmtime_exnref *, size_t, wasmtime_val *))                                            \
  X(uint32_t, wasmtime_exnref_to_raw, (wasmtime_context_t *, const wasmtime_exnref *))                                  \
  X(void, wasmtime_exnref_unroot, (wasmtime_exnref *))                                                                  \
  X(wasm_valtype_t *, wasmtime_valtype_to_wasm, (const wasm_engine_t *, const wasmtime_valtype *))                      \
  X(void, wasmtime_func_new,                                                                                            \
    (wasmtime_context_t *, const wasm_functype_t *, wasmtime_func_callback, void *, void (*)(void *), wasmtime_func *)) \
  X(wasmtime_error_t *, wasmtime_func_call,                                                                             \
    (wasmtime_context_t *, const wasmtime_func *, const wasmtime_val *, size_t, wasmtime_val *, size_t, wasm_trap_t **))\
  X(const wasm_externtype_t *, wasm_importtype_type, (const wasm_importtype_t *))                                       \
  X(const wasm_functype_t *, wasm_externtype_as_functype_const, (const wasm_externtype_t *))                            \
  X(void, wasmtime_exnref_from_raw, (wasmtime_context_t *, uint32_t, wasmtime_exnref *))                                \
  X(void, wasmtime_anyref_from_raw, (wasmtime_context_t *, uint32_t, wasmtime_anyref *))                                \
  X(uint32_t, wasmtime_anyref_to_raw, (wasmtime_context_t *, const wasmtime_anyref *))                                  \
  X(void, wasmtime_anyref_unroot, (wasmtime_anyref *))                                                                  \
  X(void, wasmtime_anyref_from_i31, (wasmtime_context_t *, uint32_t, wasmtime_anyref *))                                \
  X(bool, wasmtime_anyref_i31_get_s, (wasmtime_context_t *, const wasmtime_anyref *, int32_t *))                        \
  X(bool, wasmtime_anyref_as_struct, (wasmtime_context_t *, const wasmtime_anyref *, wasmtime_anyref *))                \
  X(bool, wasmtime_anyref_as_array, (wasmtime_context_t *, const wasmtime_anyref *, wasmtime_anyref *))                 \
  X(void *, wasmtime_structref_type, (wasmtime_context_t *, const wasmtime_anyref *))                                   \
  X(size_t, wasmtime_struct_type_num_fields, (const void *))                                                            \
  X(void, wasmtime_struct_type_delete, (void *))                                                                        \
  X(wasmtime_error_t *, wasmtime_structref_field,                                                                       \
    (wasmtime_context_t *, const wasmtime_anyref *, size_t, wasmtime_val *))                                            \
  X(void, wasmtime_structref_unroot, (wasmtime_anyref *))                                                               \
  X(wasmtime_error_t *, wasmtime_arrayref_len, (wasmtime_context_t *, const wasmtime_anyref *, uint32_t *))             \
  X(wasmtime_error_t *, wasmtime_arrayref_get,                                                                          \
    (wasmtime_context_t *, const wasmtime_anyref *, uint32_t, wasmtime_val *))                                          \
  X(void, wasmtime_arrayref_unroot, (wasmtime_anyref *))                                                                \
  X(wasmtime_context_t *, wasmtime_caller_context, (wasmtime_caller_t *))                                               \
  X(void *, wasmtime_context_get_data, (const wasmtime_context_t *))                                                    \
  X(bool, wasmtime_caller_export_get, (wasmtime_caller_t *, const char *, size_t, wasmtime_extern *))                   \
  X(void, wasmtime_func_new_unchecked,                                                                                  \
    (wasmtime_context_t *, const wasm_functype_t *, wasmtime_func_unchecked_callback, void *, void (*)(void *),         \
     wasmtime_func *))                                                                                                  \
  X(wasm_functype_t *, wasmtime_func_type, (const wasmtime_context_t *, const wasmtime_func *))                         \
  X(wasmtime_error_t *, wasmtime_func_call_unchecked,                                                                   \
    (wasmtime_context_t *, const wasmtime_func *, wasmtime_val_raw *, size_t, wasm_trap_t **))                          \
  X(void, wasmtime_func_from_raw, (wasmtime_context_t *, void *, wasmtime_func *))                                      \
  X(void *, wasmtime_func_to_raw, (wasmtime_context_t *, const wasmtime_func *))                                        \
  X(wasmtime_error_t *, wasmtime_instance_new,                                                                          \
    (wasmtime_context_t *, const wasmtime_module_t *, const wasmtime_extern *, size_t, wasmtime_instance *,             \
     wasm_trap_t **))                                                                                                   \
  X(wasmtime_linker_t *, wasmtime_linker_new, (wasm_engine_t *))                                                        \
  X(void, wasmtime_linker_delete, (wasmtime_linker_t *))                                                                \
  X(wasmtime_error_t *, wasmtime_linker_define_func_unchecked,                                                          \
    (wasmtime_linker_t *, const char *, size_t, const char *, size_t, const wasm_functype_t *,                          \
     wasmtime_func_unchecked_callback, void *, void (*)(void *)))                                                       \
  X(wasmtime_error_t *, wasmtime_linker_instantiate_pre,                                                                \
    (const wasmtime_linker_t *, const wasmtime_module_t *, wasmtime_instance_pre_t **))                                 \
  X(wasmtime_error_t *, wasmtime_instance_pre_instantiate,                                                              \
    (const wasmtime_instance_pre_t *, wasmtime_context_t *, wasmtime_instance *, wasm_trap_t **))                       \
  X(void, wasmtime_instance_pre_delete, (wasmtime_instance_pre_t *))                                                    \
  X(bool, wasmtime_instance_export_get,                                                                                 \
    (wasmtime_context_t *, const wasmtime_instance *, const char *, size_t, wasmtime_extern *))                         \
  X(wasmtime_module_t *, wasmtime_module_clone, (wasmtime_module_t *))                                                  \
  X(void, wasmtime_module_imports, (const wasmtime_module_t *, wasm_importtype_vec *))                                  \
  X(void, wasm_importtype_vec_delete, (wasm_importtype_vec *))                                                          \
  X(const wasm_byte_vec *, wasm_importtype_module, (const wasm_importtype_t *))                                         \
  X(const wasm_byte_vec *, wasm_importtype_name, (const wasm_importtype_t *))                                           \
  X(void, wasmtime_linker_allow_shadowing, (wasmtime_linker_t *, bool))                                                 \
  X(wasmtime_error_t *, wasmtime_linker_define,                                                                         \
    (wasmtime_linker_t *, wasmtime_context_t *, const char *, size_t, const char *, size_t,                             \
     const wasmtime_extern *))                                                                                          \
  X(bool, wasmtime_linker_get,                                                                                          \
    (const wasmtime_linker_t *, wasmtime_context_t *, const char *, size_t, const char *, size_t,                       \
     wasmtime_extern *))                                                                                                \
  X(wasmtime_guestprofiler_t *, wasmtime_guestprofiler_new,                                                             \
    (const wasm_engine_t *, const wasm_byte_vec *, uint64_t, const wasmtime_guestprofiler_modules *, size_t))           \
  X(void, wasmtime_guestprofiler_sample, (wasmtime_guestprofiler_t *, const wasmtime_store_t *, uint64_t))              \
  X(wasmtime_error_t *, wasmtime_guestprofiler_finish, (wasmtime_guestprofiler_t *, wasm_byte_vec *))                   \
  X(void, wasmtime_guestprofiler_delete, (wasmtime_guestprofiler_t *))                                                  \
  X(wasmtime_error_t *, wasmtime_linker_define_async_func,                                                              \
    (wasmtime_linker_t *, const char *, size_t, const char *, size_t, const wasm_functype_t *,                          \
     wasmtime_func_async_callback, void *, void (*)(void *)))                                                           \
  X(wasmtime_call_future_t *, wasmtime_linker_instantiate_async,                                                        \
    (const wasmtime_linker_t *, wasmtime_context_t *, const wasmtime_module_t *, wasmtime_instance *,                   \
     wasm_trap_t **, wasmtime_error_t **))                                                                              \
  X(wasmtime_call_future_t *, wasmtime_func_call_async,                                                                 \
    (wasmtime_context_t *, const wasmtime_func *, const wasmtime_val *, size_t, wasmtime_val *, size_t,                 \
     wasm_trap_t **, wasmtime_error_t **))                                                                              \
  X(bool, wasmtime_call_future_poll, (wasmtime_call_future_t *))                                                        \
  X(void, wasmtime_call_future_delete, (wasmtime_call_future_t *))                                                      \
  X(wasmtime_error_t *, wasmtime_memory_new, (wasmtime_context_t *, const wasm_memorytype_t *, wasmtime_memory *))      \
  X(wasm_memorytype_t *, wasmtime_memory_type, (const wasmtime_context_t *, const wasmtime_memory *))                   \
  X(uint8_t *, wasmtime_memory_data, (const wasmtime_context_t *, const wasmtime_memory *))                             \
  X(size_t, wasmtime_memory_data_size, (const wasmtime_context_t *, const wasmtime_memory *))                           \
  X(wasmtime_error_t *, wasmtime_memory_grow, (wasmtime_context_t *, const wasmtime_memory *, uint64_t, uint64_t *))    \
  X(wasmtime_error_t *, wasmtime_sharedmemory_new,                                                                      \
    (const wasm_engine_t *, const wasm_memorytype_t *, wasmtime_sharedmemory_t **))                                     \
  X(void, wasmtime_sharedmemory_delete, (wasmtime_sharedmemory_t *))                                                    \
  X(wasm_memorytype_t *, wasmtime_sharedmemory_type, (const wasmtime_sharedmemory_t *))                                 \
  X(uint8_t *, wasmtime_sharedmemory_data, (const wasmtime_sharedmemory_t *))                                           \
  X(size_t, wasmtime_sharedmemory_data_size, (const wasmtime_sharedmemory_t *))                                         \
  X(wasmtime_error_t *, wasmtime_sharedmemory_grow, (const wasmtime_sharedmemory_t *, uint64_t, uint64_t *))            \
  X(wasmtime_error_t *, wasmtime_table_new,                                                                             \
    (wasmtime_context_t *, const wasm_tabletype_t *, const wasmtime_val *, wasmtime_table *))                           \
  X(wasm_tabletype_t *, wasmtime_table_type, (const wasmtime_context_t *, const wasmtime_table *))                      \
  X(bool, wasmtime_table_get, (wasmtime_context_t *, const wasmtime_table *, uint64_t, wasmtime_val *))                 \
  X(wasmtime_error_t *, wasmtime_table_set,                                                                             \
    (wasmtime_context_t *, const wasmtime_table *, uint64_t, const wasmtime_val *))                                     \
  X(uint64_t, wasmtime_table_size, (const wasmtime_context_t *, const wasmtime_table *))                                \
  X(wasmtime_error_t *, wasmtime_table_grow,                                                                            \
    (wasmtime_context_t *, const wasmtime_table *, uint64_t, const wasmtime_val *, uint64_t *))                         \
  X(wasmtime_error_t *, wasmtime_global_new,                                                                            \
    (wasmtime_context_t *, const wasm_globaltype_t *, const wasmtime_val *, wasmtime_global *))                         \
  X(wasm_globaltype_t *, wasmtime_global_type, (const wasmtime_context_t *, const wasmtime_global *))                   \
  X(void, wasmtime_global_get, (wasmtime_context_t *, const wasmtime_global *, wasmtime_val *))                         \
  X(wasmtime_error_t *, wasmtime_global_set,                                                                            \
    (wasmtime_context_t *, const wasmtime_global *, const wasmtime_val *))                                              \
  X(void, wasmtime_val_unroot, (wasmtime_val *))                                                                        \
  X(bool, wasmtime_externref_new, (wasmtime_context_t *, void *, void (*)(void *), wasmtime_externref *))               \
  X(void *, wasmtime_externref_data, (wasmtime_context_t *, const wasmtime_externref *))                                \
  X(void, wasmtime_externref_unroot, (wasmtime_externref *))                                                            \
  X(void, wasmtime_externref_from_raw, (wasmtime_context_t *, uint32_t, wasmtime_externref *))                          \
  X(uint32_t, wasmtime_externref_to_raw, (wasmtime_context_t *, const wasmtime_externref *))                            \

/* Settings of the pooling allocator, each set by wasmtime_pooling_allocation_config_<name>_set; as options, pool_<name>. */
#define WASMTIME_POOL_SETTINGS(X)                                                                                       \
  X(uint32_t, total_core_instances)                                                                                     \
  X(uint32_t, total_component_instances)                                                                                \
  X(uint32_t, total_memories)                                                                                           \
  X(uint32_t, total_tables)                                                                                             \
  X(uint32_t, total_stacks)                                                                                             \
  X(uint32_t, total_gc_heaps)                                                                                           \
  X(uint32_t, max_memories_per_module)                                                                                  \
  X(uint32_t, max_tables_per_module)                                                                                    \
  X(uint32_t, max_unused_warm_slots)                                                                                    \
  X(size_t, max_memory_size)                                                                                            \
  X(size_t, table_elements)                                                                                             \
  X(size_t, linear_memory_keep_resident)                                                                                \
  X(size_t, table_keep_resident)

/* Engine settings, each set by wasmtime_config_<name>_set; the value's C type follows. */
#define WASMTIME_SETTINGS(X)                                                                                            \
  X(bool, consume_fuel)                                                                                                 \
  X(bool, epoch_interruption)                                                                                           \
  X(size_t, max_wasm_stack)                                                                                             \
  X(size_t, async_stack_size)                                                                                           \
  X(bool, wasm_threads)                                                                                                 \
  X(bool, shared_memory)                                                                                                \
  X(bool, wasm_tail_call)                                                                                               \
  X(bool, wasm_reference_types)                                                                                         \
  X(bool, wasm_function_references)                                                                                     \
  X(bool, wasm_gc)                                                                                                      \
  X(bool, wasm_simd)                                                                                                    \
  X(bool, wasm_relaxed_simd)                                                                                            \
  X(bool, wasm_relaxed_simd_deterministic)                                                                              \
  X(bool, wasm_bulk_memory)                                                                                             \
  X(bool, wasm_multi_value)                                                                                             \
  X(bool, wasm_multi_memory)                                                                                            \
  X(bool, wasm_memory64)                                                                                                \
  X(bool, wasm_wide_arithmetic)                                                                                         \
  X(bool, wasm_exceptions)                                                                                              \
  X(bool, wasm_custom_page_sizes)                                                                                       \
  X(uint8_t, strategy)                                                                                                  \
  X(bool, parallel_compilation)                                                                                         \
  X(bool, cranelift_debug_verifier)                                                                                     \
  X(bool, cranelift_nan_canonicalization)                                                                               \
  X(uint8_t, cranelift_opt_level)                                                                                       \
  X(bool, memory_may_move)                                                                                              \
  X(uint64_t, memory_reservation)                                                                                       \
  X(uint64_t, memory_guard_size)                                                                                        \
  X(uint64_t, memory_reservation_for_growth)                                                                            \
  X(bool, concurrency_support)                                                                                          \
  X(bool, wasm_component_model_async)                                                                                   \
  X(bool, wasm_component_model_async_stackful)                                                                          \
  X(bool, wasm_component_model_more_async_builtins)

#endif
