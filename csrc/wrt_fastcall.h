/* wrt_fastcall.h: what the files of the vectorcall path (fast_*.c) share.
 *
 * The path knows no engine: it works through an engine table (wrt.h). Everything that touches a store, and so everything
 * that may run guest code, happens here, with the GIL held; engines and modules are the business of the adapters, by cffi.
 *
 * Who owns whom. A Store owns the engine's store, the host functions made in it (each a reference to a Python callable) and
 * the objects that its guests hold as externrefs. Functions, Memories and Callers own their Store; nothing points the other
 * way, but for what a callable or an externref happens to hold: those cycles are the collector's, through Store's tp_traverse.
 * The engine's store is freed when it is closed or forgotten, but never during a call in it nor under an exported buffer.
 */
#ifndef WRT_FASTCALL_H
#define WRT_FASTCALL_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#include "wrt.h"

#define LIKELY(condition) __builtin_expect(!!(condition), 1)
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)

/* Slot arrays of up to this many words lie on the C stack. */
enum { STACK_WORDS = 32 };

/* References made by guests between two collections in the engine. */
enum { REFS_PER_COLLECTION = 10000 };

/* The module's state: the types, and what C asks of Python (pywasmrt/_shim/bridge.py). */
typedef struct State {
  PyTypeObject *store_type;
  PyTypeObject *function_type;
  PyTypeObject *memory_type;
  PyTypeObject *caller_type;
  PyObject *closed_error;
  PyObject *busy_error;
  PyObject *memory_access_error;
  PyObject *make_function_type;   /* (param codes, result codes) -> FunctionType */
  PyObject *make_memory_type;     /* (minimum, maximum, is_64, shared, page_size) -> MemoryType */
  PyObject *raise_argument_error; /* (name, FunctionType, args) never returns */
  PyObject *raise_result_error;   /* (name, FunctionType, value) never returns */
  PyObject *raise_slots_error;    /* (name, FunctionType, slots) never returns */
  PyObject *raise_no_stack;       /* (bytes left, bytes needed) never returns */
} State;

typedef struct Store Store;

/* A Python object that the guests of a store hold. In the store's `refs` until it is released, and from the time that the
 * engine lets go of it in `garbage` too: releasing runs Python code, which must not happen inside the engine. The engine lets
 * go while guest code runs, so that alone changes nothing that the garbage collector, on any thread, may be looking at. */
typedef struct HostRef {
  struct HostRef *next;
  struct HostRef **link;     /* what points at this one */
  struct HostRef *next_dead; /* in `garbage` */
  bool dead;
  Store *store;     /* borrowed: the store outlives its references */
  PyObject *object; /* owned */
} HostRef;

/* A Python callable that the guests of a store import. Owned by the store; `env` of the engine's host function. */
typedef struct HostCallable {
  struct HostCallable *next;
  Store *store;               /* borrowed: the store outlives its host functions */
  PyObject *callable;         /* owned */
  PyObject *name;             /* owned: a str for messages */
  PyObject *type;             /* owned: the FunctionType */
  PyTypeObject *caller_class; /* owned: what to hand over as first argument, or NULL */
  PyObject *context;          /* owned: what the adapter wants to find in a Caller */
  size_t param_count;
  size_t result_count;
  bool has_refs;
  uint8_t types[]; /* params, then results */
} HostCallable;

struct Store {
  PyObject_HEAD
  const wrt_engine_ops *ops;
  wrt_store *native;     /* owned; NULL once freed */
  State *state;          /* borrowed from the module */
  PyObject *module;      /* owned */
  uintptr_t owner;       /* the thread inside, while depth > 0 */
  unsigned depth;        /* how many calls into the engine are on the owner's stack */
  bool closed;           /* to the user; the engine's store may outlive this for a while */
  unsigned views;        /* exported buffers of its memories */
  size_t stack_needed;   /* bytes of stack that a call may use */
  unsigned ref_count;    /* references made since the last collection */
  HostCallable *callables;
  HostRef *refs;
  HostRef *garbage;
  bool releasing; /* somebody is emptying `garbage` */
  PyObject *parked[3]; /* the exception that is unwinding the guest */
  PyObject *engine;    /* owned: the adapter's object that keeps the engine */
  PyObject *fail;      /* owned: the adapter's (result, trap, message, frames), which never returns */
  PyObject *weakrefs;
};

typedef struct Function {
  PyObject_HEAD
  vectorcallfunc vectorcall;
  Store *store; /* owned */
  wrt_extern handle;
  size_t param_count;
  size_t result_count;
  size_t words;   /* length of the slot array of a call */
  size_t step;    /* the engine's slot_words */
  uint8_t *types; /* owned: params, then results */
  int (*engine_call)(wrt_store *, const wrt_extern *, wrt_slot *, size_t, wrt_failure *); /* the engine's `call` */
  bool has_refs;  /* funcref or externref in the signature */
  bool closed;    /* the instance was closed, in a store that goes on */
  PyObject *name;  /* owned: a str for messages */
  PyObject *type;  /* owned: the FunctionType */
  PyObject *weakrefs;
} Function;

extern PyType_Spec store_spec, function_spec, memory_spec, caller_spec;

/* fast_store.c */

/* Turns an engine's failure into a Python exception, and releases it. Always returns NULL. */
PyObject *raise_failure(Store *store, int result, wrt_failure *failure);
/* The slow half of store_enter: says why the store cannot be entered, or measures this thread's stack. */
int store_enter_slowly(Store *store, uintptr_t thread);
/* Frees what waited for the end of the call chain: the engine's store if closed, and released references. */
void store_settle(Store *store);
/* Releases the objects that guests no longer hold; runs Python code. */
void release_garbage(Store *store);
/* Reads a handle out of the bytes object that carries it between Python and C; false with TypeError set. */
bool read_handle(PyObject *object, void *handle, size_t size);

/* fast_function.c */

/* Sets the error of using a function whose instance was closed. Always -1. */
int function_refuse_closed(Function *function);

/* Makes a Function of a handle; its signature is asked of the engine. */
PyObject *function_new(Store *store, const wrt_extern *handle, PyObject *name);

/* fast_host.c */
int call_python(void *env, wrt_caller *caller, wrt_slot *slots);

/* The running thread, by what is quickest to read; threads that exist at the same time differ. */
static inline uintptr_t this_thread(void) {
#if defined(__GNUC__) && (defined(__x86_64__) || defined(__aarch64__)) && defined(__linux__)
  return (uintptr_t)__builtin_thread_pointer();
#else
  return (uintptr_t)PyThreadState_Get();
#endif
}

/* Lowest address of the running thread's stack, 0 where the system does not tell; beyond every address until it is known.
 * It is the thread's own, as another thread may later have the same place and name, and less stack. */
#ifdef __GLIBC__
__attribute__((tls_model("initial-exec"))) /* one load; elsewhere a library opened at run time may not ask for it */
#endif
extern _Thread_local uintptr_t stack_bottom;

/* Enters the store for a call into the engine: 0, or -1 with an exception set. Every entry is left again. */
static inline int store_enter(Store *store) {
  uintptr_t thread = this_thread();
  uintptr_t here = (uintptr_t)__builtin_frame_address(0);
  if (UNLIKELY(store->closed || (store->depth != 0 && store->owner != thread) ||
               (store->depth == 0 && here - store->stack_needed < stack_bottom))) {
    if (store_enter_slowly(store, thread) < 0) return -1;
  }
  store->owner = thread;
  store->depth++;
  return 0;
}

static inline void store_leave(Store *store) {
  if (--store->depth == 0 && UNLIKELY(store->closed || store->garbage != NULL)) store_settle(store);
}

/* Whether the store can be looked at by this thread now, without entering: 0, or -1 with an exception set. */
static inline int store_check(Store *store) {
  if (UNLIKELY(store->closed || (store->depth != 0 && store->owner != this_thread())))
    return store_enter_slowly(store, this_thread());
  return 0;
}

#endif
