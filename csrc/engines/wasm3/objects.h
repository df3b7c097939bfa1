/* objects.h: engines, modules, instances and stores on wasm3, and what an extern holds. For this folder only. */
#ifndef WRT_WASM3_OBJECTS_H
#define WRT_WASM3_OBJECTS_H

#include <stdatomic.h>

#include "internals.h"

enum {
  /* What wasm3 may write above the limit of the stack before a call is checked: a slot's number has 16 bits. */
  STACK_HEADROOM = (1 << 16) * (int)sizeof(m3slot_t) + (64 << 10),
  STACK_GUARD = 64 << 10,
  /* From a page's start. A slot's low 12 address bits must differ from those of a memory's header, which also begins a page:
   * otherwise the processor makes each load of one wait for stores to the other. */
  STACK_OFFSET = 2112,
  DEFAULT_STACK = 1 << 20,
  /* Native stack that guests leave to the host functions they call. */
  LEAST_HOST_STACK = 128 << 10,
  /* Native stack for compiling a module without nested blocks. */
  FLAT_COMPILER_STACK = 128 << 10,
  LENT_EXTERNS = 64
};

struct wrt_engine {
  atomic_uint holders; /* how many: its maker and the stores */
  size_t ticks;        /* read and written atomically */
  size_t stack_slots;
  size_t stack_size;     /* bytes of each store's stack, with the guards around it */
  _Atomic(void *) spare; /* owned: the stack of a store that is gone, for the next one; or NULL */
};

typedef struct instance instance;

struct wrt_module {
  atomic_uint holders;
  wasm3_scan scan;
  _Atomic(instance *) ready; /* owned: the instance made ahead, or NULL */
};

/* A function of another instance or of the host in a table: a function of wasm3's that is not guest code. */
typedef struct thunk {
  struct thunk *next;
  M3Function function; /* what the table points to */
  wasm3_code code;
  wrt_extern item;
} thunk;

/* An instance, which may be gone: then it owns nothing any more, and stays in its store only for the externs of it that the
 * host still has. */
struct instance {
  wasm3_guest guest;     /* first: the runtime's user data points here */
  wrt_store *store;      /* borrowed; NULL until it is linked */
  wrt_module *module;    /* counted once it is linked; NULL when it is gone */
  wrt_extern *functions; /* owned: what the imported functions are linked to */
  thunk *thunks;         /* owned */
  size_t users;          /* how many imports and thunks of other instances are functions of this one */
  bool closed;           /* the host has closed it: it goes when nobody uses it */
  instance *next;        /* among those of the store that are there, or among those that are gone */
  instance **link;       /* what points at this one, while it is there */
};

typedef struct host_record {
  struct host_record *next;
  wrt_host_function function;
  void *env;
  wrt_store *store;
  size_t param_count;
  size_t result_count;
  uint8_t types[];
} host_record;

/* A global made by the host, which instances that import it copy. */
typedef struct host_global {
  struct host_global *next;
  wrt_type type;
  bool mutable_;
  wrt_slot value;
} host_global;

struct wrt_store {
  uint64_t *top;   /* where on the stack the next call begins: at `bottom`, unless a host function runs, or a poll */
  uint64_t *bottom;
  uint64_t *limit; /* where a call must end */
  void *stack;     /* owned: the stack between two guards */
  size_t stack_slots;
  wrt_engine *engine; /* held */
  uintptr_t floor;    /* lowest usable address of the native stack, as in the headers of the memories */
  int (*poll)(void *env);
  void *poll_env;
  const void *stopped; /* why a guest that polled or ran out of stack must end, until it has */
  bool host_failed;
  uint64_t memory_limit;
  uint64_t table_limit;
  uint64_t instances_left;
  instance *instances;
  instance *gone;
  host_record *records;
  host_global *globals;
  wrt_extern lent[LENT_EXTERNS]; /* what the slots that were handed out last point to */
  unsigned lent_count;
};

struct wrt_caller {
  instance *instance; /* NULL where the host itself called */
};

/* An extern: what it is, whose it is, and which one. */
typedef enum extern_tag { GUEST_FUNCTION = 1, HOST_FUNCTION, GUEST_MEMORY, GUEST_TABLE, GUEST_GLOBAL, HOST_GLOBAL } extern_tag;

static inline wrt_extern pack(extern_tag tag, void *owner, uint64_t which) {
  return (wrt_extern){{tag, (uintptr_t)owner, which, 0}};
}

static inline instance *owner_of(const wrt_extern *item) { return (instance *)(uintptr_t)item->opaque[1]; }

static inline bool is_gone(const instance *self) { return __builtin_expect(self->module == NULL, 0); }

/* The instance whose own function the extern is; NULL for a function of the host's, and for anything else. */
static inline instance *function_owner(const wrt_extern *item) {
  return item->opaque[0] == GUEST_FUNCTION ? owner_of(item) : NULL;
}

static inline instance *instance_of(const M3MemoryHeader *header) { return header->runtime->userdata; }

#endif
