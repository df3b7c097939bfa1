/* wazero.h: what the C half and the Go half of this engine share.
 *
 * The C half (table.c) fills the engine table, keeps what must be cheap to reach or must not move (memories, the types of
 * functions), and works without Go where it can, as it must in the child of a fork. The Go half (*.go) drives wazero. Go's
 * objects are known to C by numbers, which Go hands out and takes back (handles.go).
 */
#ifndef WRT_WAZERO_WAZERO_H
#define WRT_WAZERO_WAZERO_H

#include "wrt.h"

/* A linear memory: address space that is reserved once, so that it never moves. Owned by its store. */
typedef struct wz_memory {
  struct wz_memory *next;
  uint8_t *base;
  size_t size; /* bytes that can be used; written by the thread that runs the store, or atomically for shared ones */
  size_t reserved;
  size_t limit; /* bytes that it may grow to */
  bool shared;
  bool has_maximum;
  uint64_t minimum, maximum; /* of its type, in pages */
} wz_memory;

/* A function of a guest or of the host. Owned by its store. */
typedef struct wz_function {
  struct wz_function *next;
  struct wrt_store *store;
  uintptr_t number;           /* Go's number of it; 0 for a function of the host's */
  wrt_host_function host; /* or NULL */
  void *env;
  uint32_t params, results;
  bool dense; /* a value takes one word in Go's array too, so none is a v128 */
  bool is_short; /* see call_is_short in wrt.h */
  uint8_t types[];
} wz_function;

/* Its types, params and then results: a C accessor for an array that Go cannot name. */
static inline const uint8_t *wz_types(const wz_function *function) { return function->types; }

/* A table, a global or a tag, about which only Go knows more. Owned by its store. */
typedef struct wz_other {
  struct wz_other *next;
  uintptr_t number;
} wz_other;

struct wrt_engine {
  uintptr_t number;
  size_t ticks; /* read and written atomically */
};

struct wrt_module {
  uintptr_t number;
};

struct wrt_store {
  wrt_engine *engine; /* borrowed: the store's maker keeps it */
  uintptr_t number;
  uint64_t memory_limit;
  int (*poll)(void *env);
  void *poll_env;
  size_t seen; /* of the engine's ticks */
  int host_result; /* of the host function that has just returned; see wz_host_call */
  wz_memory *memories;   /* owned, as the next three */
  wz_function *functions;
  wz_other *others;
  struct wz_reference *references;
};

/* The instance that calls a host function: its place among the calls that run in the store. */
struct wrt_caller {
  wrt_store *store;
  size_t level;
};

/* What an extern's first word is; the second is the address of the struct above. */
typedef enum wz_tag { WZ_FUNCTION = 1, WZ_MEMORY, WZ_TABLE, WZ_GLOBAL, WZ_TAG } wz_tag;

/* wazero's table, static. The only function that this library exports. Its first call needs two free descriptors. */
__attribute__((visibility("default"))) const wrt_engine_ops *wrt_wazero_ops(void);

/* ---- made by C, for Go ---- */

/* Makes a memory that may grow to `maximum` bytes; NULL for lack of address space. */
wz_memory *wz_memory_make(wrt_store *store, uint64_t maximum);
/* Makes `size` bytes usable. False where a limit or the system forbids it. */
bool wz_memory_resize(wz_memory *memory, uint64_t size);
/* Makes the record of a function; `types` are copied. NULL for lack of memory. */
wz_function *wz_function_make(wrt_store *store, uintptr_t go, const uint8_t *types, uint32_t params, uint32_t results);
/* Makes the record of a table, a global or a tag. NULL for lack of memory. */
wz_other *wz_other_make(wrt_store *store, uintptr_t go);
/* Calls a host function, a wz_function, with the words at `words`, which receive the results. `host_result` of its store
 * becomes a wrt_result: WRT_TRAP for lack of stack, WRT_UNSUPPORTED in a process that the host has just forked. As Go calls it
 * the quickest way, nothing is passed as a pointer, which Go would check, and nothing is returned. */
void wz_host_call(uintptr_t function, size_t level, uintptr_t words);
/* A guest counted down to zero: polls if the engine ticked since the last time. A wrt_result, as above. */
int wz_poll(wrt_store *store);

/* The message of failures in the child of a fork; static. */
extern const char *const wz_forked;

#endif
