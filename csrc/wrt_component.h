/* wrt_component.h: the contract between pywasmrt and an engine that runs components; what wrt.h is for modules.
 *
 * Engines and stores are those of wrt.h, whose rules hold here too. Values cross as wrt_value, a tagged union in the layout of
 * Wasmtime's own C API (version 50), so that nothing is converted on the way; another engine converts.
 *
 * Who owns values:
 *   - The arguments of `call` are the caller's, who may have them anywhere; the engine copies what it keeps.
 *   - The result of `call` is the caller's, who releases it with value_clear.
 *   - The arguments of a host function are the engine's, and gone when it returns.
 *   - The result of a host function is the engine's once the function has returned: it is built from what list_new, fields_new,
 *     texts_new, text_new and box_new give. The engine passes in a cleared value, and what the host has put there is valid at
 *     every moment, so that the engine can release it when the host function fails.
 * Declarations only, so that cffi can read it as it stands.
 */
#ifndef WRT_COMPONENT_H
#define WRT_COMPONENT_H

#include "wrt.h"
#include "wrt_task.h"

#define WRT_COMPONENT_VERSION 2 /* of this contract; members of the table are only ever appended */

typedef struct wrt_component wrt_component;
typedef struct wrt_linker wrt_linker;
typedef struct wrt_linker_scope wrt_linker_scope;
typedef struct wrt_resource wrt_resource;

/* What a wrt_value holds, in Wasmtime's order. */
typedef enum wrt_value_kind {
  WRT_VALUE_BOOL,
  WRT_VALUE_S8,
  WRT_VALUE_U8,
  WRT_VALUE_S16,
  WRT_VALUE_U16,
  WRT_VALUE_S32,
  WRT_VALUE_U32,
  WRT_VALUE_S64,
  WRT_VALUE_U64,
  WRT_VALUE_F32,
  WRT_VALUE_F64,
  WRT_VALUE_CHAR,
  WRT_VALUE_STRING,
  WRT_VALUE_LIST,
  WRT_VALUE_RECORD,
  WRT_VALUE_TUPLE,
  WRT_VALUE_VARIANT,
  WRT_VALUE_ENUM,
  WRT_VALUE_OPTION,
  WRT_VALUE_RESULT,
  WRT_VALUE_FLAGS,
  WRT_VALUE_RESOURCE
} wrt_value_kind;

/* UTF-8, without a NUL at the end; must be valid. */
typedef struct wrt_text {
  size_t size;
  char *data;
} wrt_text;

typedef struct wrt_texts {
  size_t size;
  wrt_text *data;
} wrt_texts;

typedef struct wrt_value wrt_value;
typedef struct wrt_field wrt_field;

typedef struct wrt_values {
  size_t size;
  wrt_value *data;
} wrt_values;

typedef struct wrt_fields {
  size_t size;
  wrt_field *data;
} wrt_fields;

/* The case by its name, and its payload, or NULL where it has none. */
typedef struct wrt_variant {
  wrt_text name;
  wrt_value *payload;
} wrt_variant;

typedef struct wrt_outcome {
  bool is_ok;
  wrt_value *payload; /* or NULL where it has none */
} wrt_outcome;

typedef union wrt_value_content {
  bool boolean;
  int8_t s8;
  uint8_t u8;
  int16_t s16;
  uint16_t u16;
  int32_t s32;
  uint32_t u32;
  int64_t s64;
  uint64_t u64;
  float f32;
  double f64;
  uint32_t character; /* a Unicode scalar value */
  wrt_text text;      /* of a string, or the name of an enum's case */
  wrt_values list;    /* of a list or tuple */
  wrt_fields record;
  wrt_variant variant;
  wrt_value *option; /* or NULL for none */
  wrt_outcome result;
  wrt_texts flags; /* the names of those that are set */
  wrt_resource *resource;
} wrt_value_content;

struct wrt_value {
  uint8_t kind; /* a wrt_value_kind; a value of zeros is `false`, and needs no value_clear */
  wrt_value_content of;
};

struct wrt_field {
  wrt_text name;
  wrt_value value;
};

/* An instance of a component and a function of one: plain values, valid while their store lives. */
typedef struct wrt_component_instance {
  uint64_t opaque[2];
} wrt_component_instance;

typedef struct wrt_component_function {
  uint64_t opaque[4];
} wrt_component_function;

/* A host function: fills `results` as said above. `host` is what store_bind was given for the store that calls. Returns WRT_OK,
 * or WRT_HOST to unwind the guest. */
typedef int (*wrt_component_host)(void *env, void *host, wrt_value *args, size_t arg_count, wrt_value *results,
                                  size_t result_count);
/* Called when a guest drops the last handle to a resource that the host gave it as `rep`. */
typedef void (*wrt_component_drop)(void *env, void *host, uint32_t rep);
/* Takes what a guest writes to a stream, on any thread; a negative number is an errno, negated. */
typedef ptrdiff_t (*wrt_component_write)(void *env, const unsigned char *data, size_t size);

/* What a store's guests may reach by WASI 0.2. Texts end in NUL and are borrowed for the call. */
typedef struct wrt_component_wasi {
  size_t arg_count;
  const char **args;
  size_t env_count;
  const char **env_names;
  const char **env_values;
  bool inherit_stdin;
  const char *stdin_data; /* otherwise, or NULL for none */
  size_t stdin_size;
  wrt_component_write out; /* NULL discards; `out_env` must outlive the store */
  void *out_env;
  wrt_component_write err;
  void *err_env;
  bool inherit_stdout;
  bool inherit_stderr;
  size_t directory_count;
  const char **host_paths;
  const char **guest_paths;
  const bool *writable;
  bool network; /* every address, and look-ups of names */
  bool http;    /* requests of HTTP, to any host */
} wrt_component_wasi;

typedef struct wrt_component_ops {
  /* --- version 1 --- */
  uint32_t version; /* WRT_COMPONENT_VERSION that the engine was built with */
  const char *name; /* static */

  /* Compiles a binary component; owned by the caller (component_delete). `bytes` are not needed afterwards. */
  int (*compile)(wrt_engine *engine, const uint8_t *bytes, size_t size, wrt_component **out, wrt_failure *failure);
  /* The compiled code as a blob, owned by the caller (bytes_clear of the engine's table). */
  int (*serialize)(wrt_component *component, wrt_bytes *out, wrt_failure *failure);
  /* Loads what serialize gave, owned by the caller (component_delete). The blob is trusted: it is machine code. */
  int (*deserialize)(wrt_engine *engine, const uint8_t *bytes, size_t size, wrt_component **out, wrt_failure *failure);
  /* Releases a component that the caller owns; instances keep alive what they need of it. */
  void (*component_delete)(wrt_component *component);

  /* Makes a linker; owned by the caller (linker_delete). It serves any number of stores, one thread at a time while it is
   * filled and any afterwards; what it was given must outlive the stores that it instantiated in. */
  int (*linker_new)(wrt_engine *engine, wrt_linker **out, wrt_failure *failure);
  void (*linker_delete)(wrt_linker *linker);
  /* Begins an interface of the linker, or its root where `name` is NULL. The scope is owned by the caller (scope_delete), who
   * deletes it before beginning another. Each may be begun once. */
  int (*scope_new)(wrt_linker *linker, const char *name, size_t size, wrt_linker_scope **out, wrt_failure *failure);
  void (*scope_delete)(wrt_linker_scope *scope);
  /* Defines a host function; `env` is borrowed. */
  int (*define_function)(wrt_linker_scope *scope, const char *name, size_t size, wrt_component_host function, void *env,
                         wrt_failure *failure);
  /* Defines a type of the host's resources, identified by `type`; `env` is borrowed. */
  int (*define_resource)(wrt_linker_scope *scope, const char *name, size_t size, uint32_t type, wrt_component_drop drop,
                         void *env, wrt_failure *failure);
  /* Defines the interfaces of WASI 0.2, and those of HTTP. The store needs store_wasi before it instantiates. */
  int (*define_wasi)(wrt_linker *linker, bool http, wrt_failure *failure);

  /* Sets the `host` that host functions receive for this store; borrowed for the store's life. */
  void (*store_bind)(wrt_store *store, void *host);
  /* Gives the store's guests what `wasi` says; copied. */
  int (*store_wasi)(wrt_store *store, const wrt_component_wasi *wasi, wrt_failure *failure);
  /* Instantiates; belongs to the store. */
  int (*instantiate)(wrt_store *store, wrt_linker *linker, wrt_component *component, wrt_component_instance *out,
                     wrt_failure *failure);
  /* Finds an exported function, of an exported interface unless that is NULL; false, `out` untouched, where there is none. */
  bool (*instance_function)(wrt_store *store, const wrt_component_instance *instance, const char *interface,
                            size_t interface_size, const char *name, size_t size, wrt_component_function *out);
  /* Runs a function. The call fails unless the values fit its type; `results` must hold zeros before. */
  int (*call)(wrt_store *store, const wrt_component_function *function, const wrt_value *args, size_t arg_count,
              wrt_value *results, size_t result_count, wrt_failure *failure);

  /* Allocate the parts of values, filled with zeros; only text_new copies its content. */
  void (*list_new)(wrt_values *out, size_t size);
  void (*fields_new)(wrt_fields *out, size_t size);
  void (*texts_new)(wrt_texts *out, size_t size);
  void (*text_new)(wrt_text *out, const char *data, size_t size);
  /* Moves a value into memory of its own, and clears it. */
  wrt_value *(*box_new)(wrt_value *value);
  /* Releases what a value owns; afterwards the value may be overwritten, but not read. */
  void (*value_clear)(wrt_value *value);

  /* A handle to the host's resource `rep`, lent or given away; owned by the caller (resource_delete). */
  int (*resource_new)(wrt_store *store, uint32_t type, uint32_t rep, bool owned, wrt_resource **out, wrt_failure *failure);
  /* The `rep` of a handle to the host's resource. The handle is consumed in the store, but still has to be deleted. */
  int (*resource_rep)(wrt_store *store, const wrt_resource *resource, uint32_t *rep, bool *owned, wrt_failure *failure);
  /* A copy of the handle for the same entry of the store; owned by the caller (resource_delete). */
  wrt_resource *(*resource_copy)(const wrt_resource *resource);
  /* Ends the handle in the store. If it owns the resource, that ends too, by its destructor, which may run guest code. */
  int (*resource_drop)(wrt_store *store, const wrt_resource *resource, wrt_failure *failure);
  /* Frees the handle itself; nothing happens in the store. */
  void (*resource_delete)(wrt_resource *resource);

  /* --- version 2: guests that wait, as in wrt_task.h; NULL where the engine's `tasks` is --- */

  /* Defines a host function that may return WRT_PENDING, for stores that are entered by tasks alone; `env` is borrowed. Its
   * first call has the arguments, which it moves out, leaving zeros. The guest is then suspended, and at each poll the function
   * is called again, with `args` NULL and the same `results`, until it returns WRT_OK. Any other result of the first call
   * unwinds the guest; later calls have no such choice, and the task is dropped instead. */
  int (*define_waiting)(wrt_linker_scope *scope, const char *name, size_t size, wrt_component_host function, void *env,
                        wrt_failure *failure);
  /* Begins to instantiate, in a linker whose functions were all defined by define_waiting; `linker`, `component` and `out` are
   * borrowed until the task is dropped. The task is the caller's: it is polled and dropped by the engine's `tasks`. */
  int (*instantiate_begin)(wrt_store *store, wrt_linker *linker, wrt_component *component, wrt_component_instance *out,
                           struct wrt_task **task, wrt_failure *failure);
  /* Begins a call; the values are as in `call`, and everything passed is borrowed until the task is dropped. The task is the
   * caller's, as above. resource_drop cannot be used in a store that was entered so. */
  int (*call_begin)(wrt_store *store, const wrt_component_function *function, const wrt_value *args, size_t arg_count,
                    wrt_value *results, size_t result_count, struct wrt_task **task, wrt_failure *failure);
} wrt_component_ops;

/* Looks up what Wasmtime's table needs in the library that wrt_wasmtime_load opened. Returns NULL if the library can be used;
 * otherwise what is wrong, in static storage. By one thread at a time; calling again is harmless. */
const char *wrt_wasmtime_component_load(void);
/* Wasmtime's table, static. */
const wrt_component_ops *wrt_wasmtime_component_ops(void);
/* The layout of the structs that it shares with Wasmtime, as wrt_wasmtime_layout. */
size_t wrt_wasmtime_component_layout(const wrt_layout **out);

#endif
