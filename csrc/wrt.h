/* wrt.h: the whole contract between pywasmrt and an engine.
 *
 * An engine is one table of functions (wrt_engine_ops), reached by one getter. Nothing here knows Python: the adapters read
 * this file through cffi, and the vectorcall path (fast/) includes it. It holds declarations only, so that cffi can read
 * it as it stands.
 *
 * Rules for every operation, said once:
 *   - A function that returns int returns a wrt_result. On WRT_OK the outputs are set and `failure` is untouched; on any other
 *     result the outputs are untouched and `failure` is filled: the caller releases it with failure_clear.
 *   - Inputs are borrowed for the duration of the call. What an operation hands out is owned by the caller where its comment
 *     says so; otherwise it belongs to the store and dies with it.
 *   - Engines and modules may be used from any thread. A store, with all that lives in it, is used by one thread at a time; the
 *     caller ensures that.
 *   - Sizes and offsets are in bytes unless named pages or elements.
 */
#ifndef WRT_H
#define WRT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WRT_VERSION 1 /* of this contract; members of the table are only ever appended */

/* The engine's own objects, opaque to everybody else. */
typedef struct wrt_engine wrt_engine;
typedef struct wrt_module wrt_module;
typedef struct wrt_store wrt_store;
typedef struct wrt_caller wrt_caller;
typedef struct wrt_linked wrt_linked;
typedef struct wrt_profile wrt_profile;
typedef struct wrt_task_ops wrt_task_ops; /* wrt_task.h */

/* How an operation ended. */
typedef enum wrt_result {
  WRT_OK,
  WRT_INVALID,     /* the module, blob or option is malformed, invalid or not this engine's */
  WRT_UNSUPPORTED, /* valid, but beyond this engine; the message may begin with a feature's name and a colon */
  WRT_LINK,        /* cannot be instantiated with these imports or within these limits */
  WRT_LIMIT,       /* a memory or table cannot grow that far */
  WRT_TRAP,        /* the guest trapped: failure->trap says why */
  WRT_HOST,        /* a host function failed and the guest was unwound; the host knows the reason */
  WRT_ERROR,       /* anything else: failure->message says what */
  WRT_PENDING,     /* the call is not over yet, and there is no failure (wrt_task.h) */
  WRT_EXIT,        /* a component ended itself by WASI 0.2: failure->status says how */
  WRT_THROWN       /* a host function has thrown an exception, which guests may catch (exception_throw) */
} wrt_result;

/* The order of pywasmrt.types.ValueType. The last four are all REF there: references that may not be null or that refer to a
 * type that a module defines, told apart by what they refer to. Values of the last ten pass through call_checked and
 * function_new_as only. */
typedef enum wrt_type {
  WRT_I32,
  WRT_I64,
  WRT_F32,
  WRT_F64,
  WRT_V128,
  WRT_FUNCREF,
  WRT_EXTERNREF,
  WRT_REF, /* of a kind that this contract does not know */
  WRT_ANYREF,
  WRT_EQREF,
  WRT_I31REF,
  WRT_STRUCTREF,
  WRT_ARRAYREF,
  WRT_EXNREF,
  WRT_REF_FUNC,
  WRT_REF_EXTERN,
  WRT_REF_ANY,
  WRT_REF_EXN
} wrt_type;

/* What a reference refers to, whichever type it crosses as: externref and anyref may stand for the same thing. */
typedef enum wrt_object { WRT_OBJECT_HOST, WRT_OBJECT_I31, WRT_OBJECT_STRUCT, WRT_OBJECT_ARRAY, WRT_OBJECT_OTHER } wrt_object;

/* The order of pywasmrt.types.ExternKind. */
typedef enum wrt_kind { WRT_FUNCTION, WRT_MEMORY, WRT_TABLE, WRT_GLOBAL, WRT_TAG } wrt_kind;

/* The order of pywasmrt.types.TrapCode. */
typedef enum wrt_trap {
  WRT_TRAP_STACK_OVERFLOW,
  WRT_TRAP_MEMORY_OUT_OF_BOUNDS,
  WRT_TRAP_HEAP_MISALIGNED,
  WRT_TRAP_TABLE_OUT_OF_BOUNDS,
  WRT_TRAP_INDIRECT_CALL_TO_NULL,
  WRT_TRAP_BAD_SIGNATURE,
  WRT_TRAP_INTEGER_OVERFLOW,
  WRT_TRAP_INTEGER_DIVISION_BY_ZERO,
  WRT_TRAP_BAD_CONVERSION_TO_INTEGER,
  WRT_TRAP_UNREACHABLE,
  WRT_TRAP_INTERRUPT,
  WRT_TRAP_OUT_OF_FUEL,
  WRT_TRAP_NULL_REFERENCE,
  WRT_TRAP_ARRAY_OUT_OF_BOUNDS,
  WRT_TRAP_ALLOCATION_TOO_LARGE,
  WRT_TRAP_CAST_FAILURE,
  WRT_TRAP_UNCAUGHT_EXCEPTION,
  WRT_TRAP_OTHER
} wrt_trap;

/* One 64-bit word of the array that carries arguments in and results out. A value occupies slot_words of them (the engine
 * table states how many); a value narrower than its words is zero-extended. v128 takes two words, the low half first.
 * References are the engine's own bits, made and read by the reference operations only. */
typedef union wrt_slot {
  uint64_t u64;
  int64_t i64;
  uint32_t u32;
  int32_t i32;
  double f64;
  float f32;
} wrt_slot;

/* A function, memory, table, global or tag in a store. A plain value: copied freely, valid while its store lives. */
typedef struct wrt_extern {
  uint64_t opaque[4];
} wrt_extern;

/* An instance in a store; a plain value likewise. */
typedef struct wrt_instance {
  uint64_t opaque[2];
} wrt_instance;

/* A rooted reference to a host object; owned by the side that made it, which releases it with ref_delete. */
typedef struct wrt_ref {
  uint64_t opaque[3];
} wrt_ref;

/* What an extern is. `types` holds a function's params and then its results as wrt_type, and is owned by the receiver
 * (type_clear); for a table or global `content` is the element or value type. Limits are in pages or elements. */
typedef struct wrt_extern_type {
  wrt_kind kind;
  size_t param_count;
  size_t result_count;
  uint8_t *types;
  wrt_type content;
  bool mutable_;
  bool is_64;
  bool shared;
  bool has_maximum;
  uint64_t minimum;
  uint64_t maximum;
  uint64_t page_size;
} wrt_extern_type;

/* One guest frame of a trap. The names are NUL-terminated or NULL and owned by the failure. */
typedef struct wrt_frame {
  uint32_t func_index;
  uint64_t func_offset;
  uint64_t module_offset;
  char *func_name;
  char *module_name;
} wrt_frame;

/* Why an operation failed. The text (UTF-8, may be NULL) and the frames are owned by the caller. */
typedef struct wrt_failure {
  wrt_trap trap;
  char *message;
  wrt_frame *frames;
  size_t frame_count;
  int status; /* with WRT_EXIT: the exit code */
} wrt_failure;

/* Bytes handed out by an engine, owned by the receiver (bytes_clear). */
typedef struct wrt_bytes {
  uint8_t *data;
  size_t size;
  void *owner;
} wrt_bytes;

/* One engine setting; each engine defines the names and what their values mean. */
typedef struct wrt_option {
  const char *name;
  int64_t value;
} wrt_option;

/* A host function: reads its arguments from `slots` and writes its results over them. Returns WRT_OK, WRT_HOST to unwind the
 * guest, or WRT_THROWN after exception_throw. `caller` is invalid once the function has returned. It must not return while an
 * engine call that it made itself is still running. */
typedef int (*wrt_host_function)(void *env, wrt_caller *caller, wrt_slot *slots);

/* One function that a module imports: its two names (UTF-8, of the given sizes) and its type, params and then results. */
typedef struct wrt_import {
  const char *module;
  const char *name;
  size_t module_size;
  size_t name_size;
  const uint8_t *types;
  size_t param_count;
  size_t result_count;
} wrt_import;

typedef struct wrt_engine_ops {
  /* --- version 1 --- */
  uint32_t version;    /* WRT_VERSION that the engine was built with */
  uint32_t slot_words; /* words between one value and the next in a slot array */
  const char *name;    /* static */

  /* Makes an engine with `options`; owned by the caller (engine_delete). WRT_INVALID names an unknown option. */
  int (*engine_new)(const wrt_option *options, size_t count, wrt_engine **out, wrt_failure *failure);
  /* Releases an engine that the caller owns; modules and stores keep alive what they need of it. */
  void (*engine_delete)(wrt_engine *engine);

  /* Checks a binary module; nothing is kept. WRT_INVALID with the reason. */
  int (*validate)(wrt_engine *engine, const uint8_t *bytes, size_t size, wrt_failure *failure);
  /* Compiles a binary module; owned by the caller (module_delete). `bytes` are not needed afterwards. */
  int (*compile)(wrt_engine *engine, const uint8_t *bytes, size_t size, wrt_module **out, wrt_failure *failure);
  /* Turns the text format into a binary module, owned by the caller (bytes_clear). */
  int (*text_to_binary)(const char *text, size_t size, wrt_bytes *out, wrt_failure *failure);
  /* The compiled code as a blob, owned by the caller (bytes_clear). */
  int (*serialize)(wrt_module *module, wrt_bytes *out, wrt_failure *failure);
  /* Loads what serialize gave, owned by the caller (module_delete). The blob is trusted: it is machine code. */
  int (*deserialize)(wrt_engine *engine, const uint8_t *bytes, size_t size, wrt_module **out, wrt_failure *failure);
  /* Releases a module that the caller owns; instances keep alive what they need of it. */
  void (*module_delete)(wrt_module *module);

  /* Makes a store; owned by the caller (store_delete). A limit below zero leaves the engine's default. */
  int (*store_new)(wrt_engine *engine, int64_t memory_bytes, int64_t table_elements, int64_t instances, wrt_store **out,
                   wrt_failure *failure);
  /* Frees the store and all that lives in it, running the finalisers of host references. Never called during a call in it. */
  void (*store_delete)(wrt_store *store);

  /* Makes a function that guests can call out of a host function; it belongs to the store, which `env` must outlive. */
  int (*function_new)(wrt_store *store, const uint8_t *types, size_t param_count, size_t result_count,
                      wrt_host_function function, void *env, wrt_extern *out, wrt_failure *failure);
  /* Makes a linear memory of pages; belongs to the store. Uses minimum, maximum, is_64 and shared of `type`. */
  int (*memory_new)(wrt_store *store, const wrt_extern_type *type, wrt_extern *out, wrt_failure *failure);
  /* Makes a table; belongs to the store. Uses content, minimum and maximum of `type`; `init` is copied. */
  int (*table_new)(wrt_store *store, const wrt_extern_type *type, const wrt_slot *init, wrt_extern *out,
                   wrt_failure *failure);
  /* Makes a global; belongs to the store. Uses content and mutable_ of `type`; `value` is copied. */
  int (*global_new)(wrt_store *store, const wrt_extern_type *type, const wrt_slot *value, wrt_extern *out,
                    wrt_failure *failure);

  /* Links `module` to `imports` (its own order, all of this store) and runs its start function; belongs to the store. */
  int (*instantiate)(wrt_store *store, wrt_module *module, const wrt_extern *imports, size_t count, wrt_instance *out,
                     wrt_failure *failure);
  /* Finds an export by name (UTF-8, `size` bytes); false, and `out` untouched, where there is none. */
  bool (*instance_export)(wrt_store *store, const wrt_instance *instance, const char *name, size_t size,
                          wrt_extern *out);
  /* The same for the instance that is calling a host function. */
  bool (*caller_export)(wrt_store *store, wrt_caller *caller, const char *name, size_t size, wrt_extern *out);
  /* Describes an extern; what it hands out is the caller's (type_clear). */
  int (*extern_type)(wrt_store *store, const wrt_extern *item, wrt_extern_type *out, wrt_failure *failure);

  /* Runs a function. `slots` holds the arguments and receives the results, and has room for the longer of both; the caller
   * vouches that they fit the function's type. Ends in WRT_OK, WRT_TRAP, WRT_HOST or WRT_ERROR. */
  int (*call)(wrt_store *store, const wrt_extern *function, wrt_slot *slots, size_t slot_count, wrt_failure *failure);

  /* Where the memory lies now and its size; the address stays the same until the store is deleted. Borrowed. */
  uint8_t *(*memory_data)(wrt_store *store, const wrt_extern *memory, size_t *size);
  /* Grows by `delta` pages; `previous` receives the size before, in pages. WRT_LIMIT where a limit forbids it. */
  int (*memory_grow)(wrt_store *store, const wrt_extern *memory, uint64_t delta, uint64_t *previous,
                     wrt_failure *failure);

  /* Reads a global into `out`; a reference in it is borrowed until the next operation on the store. */
  void (*global_get)(wrt_store *store, const wrt_extern *global, wrt_slot *out);
  /* Copies `value`, which the caller vouches for, into a global. */
  int (*global_set)(wrt_store *store, const wrt_extern *global, const wrt_slot *value, wrt_failure *failure);
  /* Number of elements; nothing is handed over. */
  uint64_t (*table_size)(wrt_store *store, const wrt_extern *table);
  /* Reads an element into `out`, borrowed until the next operation on the store; false beyond the end. */
  bool (*table_get)(wrt_store *store, const wrt_extern *table, uint64_t index, wrt_slot *out);
  /* Copies `value`, which the caller vouches for, into an element. */
  int (*table_set)(wrt_store *store, const wrt_extern *table, uint64_t index, const wrt_slot *value,
                   wrt_failure *failure);
  /* Adds `delta` elements, copies of `init`. WRT_LIMIT where a limit forbids it. */
  int (*table_grow)(wrt_store *store, const wrt_extern *table, uint64_t delta, const wrt_slot *init,
                    uint64_t *previous, wrt_failure *failure);

  /* Puts a function of this store into a slot; the slot borrows it from the store. */
  void (*function_to_slot)(wrt_store *store, const wrt_extern *function, wrt_slot *out);
  /* The function in a slot that is not null; it belongs to the store. */
  void (*function_from_slot)(wrt_store *store, const wrt_slot *slot, wrt_extern *out);
  /* Wraps `data` for the guest; the root is the caller's (ref_delete). `finalizer` runs once, when neither guest nor host
   * holds the reference any more, at the latest in store_delete; it must not touch the store. On failure it may have run. */
  int (*ref_new)(wrt_store *store, void *data, void (*finalizer)(void *data), wrt_ref *out, wrt_failure *failure);
  /* Puts a rooted reference into a slot, borrowed: nothing may be made in the store before the guest has received it. */
  void (*ref_to_slot)(wrt_store *store, const wrt_ref *ref, wrt_slot *out);
  /* Releases the caller's root. */
  void (*ref_delete)(wrt_ref *ref);
  /* The `data` of a reference slot that is not null, borrowed; NULL if it was not made by ref_new. */
  void *(*ref_data)(wrt_store *store, const wrt_slot *slot);
  /* Lets the engine reclaim references that the guest no longer holds, running their finalisers; hands out nothing. */
  void (*collect)(wrt_store *store);

  /* Releases what a failure owns, and empties it. */
  void (*failure_clear)(wrt_failure *failure);
  /* Releases what bytes own, and empties them. */
  void (*bytes_clear)(wrt_bytes *bytes);
  /* Releases what a type owns, and empties it. */
  void (*type_clear)(wrt_extern_type *type);

  /* Has guest code of this store call `poll(env)` now and then: soon after each engine_tick, on the thread that runs it.
   * `poll` returns WRT_OK to go on, WRT_HOST to unwind the guest, or WRT_PENDING to suspend it, where a task runs it
   * (wrt_task.h). `env` is borrowed for the store's life. */
  void (*store_poll)(wrt_store *store, int (*poll)(void *env), void *env);
  /* Makes every running guest of the engine poll. From any thread; hands out nothing. */
  void (*engine_tick)(wrt_engine *engine);
  /* Sets how much fuel guests of the store may still use; WRT_UNSUPPORTED unless the engine was made to count fuel. The failure
   * is the caller's, as everywhere. */
  int (*fuel_set)(wrt_store *store, uint64_t fuel, wrt_failure *failure);
  /* Copies out how much fuel is left. */
  int (*fuel_get)(wrt_store *store, uint64_t *fuel, wrt_failure *failure);

  /* Does once the part of instantiating `module` that is the same each time. All imports of the module must be functions that
   * `function` serves, no two by the same names; `imports` lists them in the module's order. Owned by the caller
   * (linked_delete). This and the next two are NULL in an engine that gains nothing by them: function_new and instantiate do
   * the same. */
  int (*link)(wrt_engine *engine, wrt_module *module, const wrt_import *imports, size_t count, wrt_host_function function,
              wrt_linked **out, wrt_failure *failure);
  /* Instantiates and runs the start function, as `instantiate`. `envs[i]` goes to the function of import i; the array is
   * borrowed for the store's life. At most once in each store. */
  int (*linked_instantiate)(wrt_store *store, wrt_linked *linked, void *const *envs, wrt_instance *out,
                            wrt_failure *failure);
  /* Releases a linked module that the caller owns; instances keep alive what they need of it. */
  void (*linked_delete)(wrt_linked *linked);
  /* The operations that suspend guests of this engine, static; NULL where guests cannot be suspended. */
  const wrt_task_ops *tasks;

  /* Exceptions. An engine has these five, or NULL in place of each. */

  /* Makes a tag whose exceptions carry values of these types; belongs to the store. */
  int (*tag_new)(wrt_store *store, const uint8_t *types, size_t count, wrt_extern *out, wrt_failure *failure);
  /* Makes an exception with `values`, which are copied. It is thrown when the running host function returns WRT_THROWN, which
   * it must do at once. The root, by which exception_is recognises the exception, is the caller's (ref_delete). */
  int (*exception_throw)(wrt_store *store, const wrt_extern *tag, const wrt_slot *values, wrt_ref *root,
                         wrt_failure *failure);
  /* The tag of the exception by which the last call ended in WRT_TRAP_UNCAUGHT_EXCEPTION; it belongs to the store. False where
   * there is none. The store keeps the exception itself until exception_values, or until another takes its place. */
  bool (*exception_tag)(wrt_store *store, wrt_extern *out);
  /* Whether that exception is the one that `root`, which is borrowed, stands for. */
  bool (*exception_is)(wrt_store *store, const wrt_ref *root);
  /* Reads that exception's values, and releases it; references in them are borrowed until the next operation on the store. */
  int (*exception_values)(wrt_store *store, wrt_slot *out, wrt_failure *failure);

  /* Closes an instance that the host no longer needs: what it owns is freed as soon as no other instance needs its functions.
   * Its externs stay valid, but every operation on them fails. Called only while nothing in the store runs and no memory of it
   * is being looked at. NULL in an engine that frees an instance only with its store. */
  void (*instance_close)(wrt_store *store, const wrt_instance *instance);

  /* Makes an empty profile, in which the libraries are `modules`, named by their numbers; owned by the caller (profile_delete).
   * It keeps alive what it needs of the modules. This and the next three are NULL where no stack can be seen. */
  int (*profile_new)(wrt_engine *engine, wrt_module *const *modules, size_t count, wrt_profile **out,
                     wrt_failure *failure);
  /* Adds one sample: the stack of the guest in `store` that is polling or waiting for a host function. Nothing is handed out.
   * Called on the thread that runs the guest; two threads may not use one profile at the same time. */
  void (*profile_sample)(wrt_profile *profile, wrt_store *store);
  /* The samples in their order as a processed profile of Firefox (JSON), owned by the caller (bytes_clear). Called once;
   * afterwards the profile takes no samples. */
  int (*profile_finish)(wrt_profile *profile, wrt_bytes *out, wrt_failure *failure);
  /* Releases a profile that the caller owns, and its samples. */
  void (*profile_delete)(wrt_profile *profile);

  /* References of the proposal gc. An engine has all that follow, or NULL in place of each. */

  /* As `call`, for a function of any type; `types`, which is borrowed, holds its params and then its results. The engine checks
   * the arguments before the guest runs: WRT_INVALID where one does not fit. */
  int (*call_checked)(wrt_store *store, const wrt_extern *function, const uint8_t *types, size_t param_count,
                      size_t result_count, wrt_slot *slots, wrt_failure *failure);
  /* Writes the types of the function that is import number `index` of a module into `types`, params and then results. The array
   * is the caller's and has room for `count`. */
  int (*import_types)(wrt_module *module, size_t index, uint8_t *types, size_t count, wrt_failure *failure);
  /* As function_new, for a function of exactly the type of that import, whose params and results are in `types`; they are
   * copied. The engine checks the results. */
  int (*function_new_as)(wrt_store *store, wrt_module *module, size_t index, const uint8_t *types, size_t param_count,
                         size_t result_count, wrt_host_function function, void *env, wrt_extern *out,
                         wrt_failure *failure);
  /* Puts an i31ref into a slot: the low 31 bits of `value`. Nothing has to be released. */
  void (*i31_to_slot)(wrt_store *store, uint32_t value, wrt_slot *out);
  /* Tells what the reference in a slot that is not null refers to, and its value (sign-extended) if it is an i31; nothing is
   * handed out. For slots of externref, and of anyref and its subtypes. */
  wrt_object (*object_kind)(wrt_store *store, const wrt_slot *slot, int32_t *value);
  /* Roots the reference in a slot of the type; it may also refer to an exception. The root is the caller's (ref_delete), and
   * ref_to_slot puts it into a slot. */
  int (*object_root)(wrt_store *store, uint8_t type, const wrt_slot *slot, wrt_ref *out, wrt_failure *failure);
  /* Whether two roots, which are borrowed, refer to the same object. */
  bool (*object_is)(wrt_store *store, const wrt_ref *one, const wrt_ref *other);
  /* How many fields a struct has, or elements an array; the root is borrowed. */
  int (*object_size)(wrt_store *store, const wrt_ref *root, uint64_t *out, wrt_failure *failure);
  /* Reads a field of a struct or an element of an array into `out`, and its type, a packed one as i32; a reference is borrowed
   * until the next operation on the store. WRT_LIMIT beyond the end. */
  int (*object_get)(wrt_store *store, const wrt_ref *root, uint64_t index, wrt_type *type, wrt_slot *out,
                    wrt_failure *failure);
  /* Makes exception_tag and exception_values read the exception in the slot of an exnref, not null; the store owns it. */
  int (*exception_of)(wrt_store *store, const wrt_slot *slot, wrt_failure *failure);

  /* Calls a function once for each row: row i has its `slot_count` slots, used as in `call`, at `slots + i * slot_count`. Stops
   * at the first call that does not end in WRT_OK, with that call's result; and in WRT_OK after a call in which `*stop` became
   * true. In each case `*done`, which is 0 before, becomes the number of calls that ended in WRT_OK. The slots are borrowed;
   * those of rows that were not reached are unchanged. NULL in an engine that gains nothing by it. */
  int (*call_rows)(wrt_store *store, const wrt_extern *function, wrt_slot *slots, size_t slot_count, size_t rows,
                   const bool *stop, size_t *done, wrt_failure *failure);
  /* Whether every call of the function, whatever its arguments are, ends within some microseconds, and neither waits nor calls
   * the host: nothing is lost if nobody can stop it. False also where that is not known; nothing is handed out. NULL in an
   * engine that never knows. */
  bool (*call_is_short)(wrt_store *store, const wrt_extern *function);
} wrt_engine_ops;

/* Opens Wasmtime's shared library at `path`. Returns NULL if the library can be used; otherwise what is wrong, in static
 * storage. Called once before wrt_wasmtime_ops is used, by one thread at a time; calling again is harmless. */
const char *wrt_wasmtime_load(const char *path);
/* Wasmtime's table, static. */
const wrt_engine_ops *wrt_wasmtime_ops(void);

/* One row of the layout of the C structs that engines/wasmtime/ shares with Wasmtime, for the test that compares them with the
 * package's own declarations. `field` is NULL in the row that gives a struct's size (and its alignment as offset). */
typedef struct wrt_layout {
  const char *type;
  const char *field;
  size_t offset;
  size_t size;
} wrt_layout;
/* The rows, static; returns how many. */
size_t wrt_wasmtime_layout(const wrt_layout **out);

/* wasm3's table, static; NULL where this was built without wasm3. */
const wrt_engine_ops *wrt_wasm3_ops(void);
/* The version of wasm3, and the proposals that it has, separated by commas; static, and NULL likewise. */
const char *wrt_wasm3_version(void);
const char *wrt_wasm3_proposals(void);

#endif
