/* fastcall.h: what the files of the vectorcall path (this folder) share.
 *
 * The path knows no engine: it works through an engine table (wrt.h). Everything that touches a store, and so everything that
 * may run guest code, happens here, with the GIL held; engines and modules are handled by the adapters, through cffi.
 *
 * Who owns whom. A Store owns the engine's store, the host functions made in it (each a reference to a Python callable) and the
 * objects that its guests hold as externrefs. Functions, Memories and Callers own their Store; nothing points the other way,
 * except what a callable or an externref happens to hold: the garbage collector finds those cycles through Store's tp_traverse.
 * The engine's store is freed when the Store is closed or deallocated, but never during a call in it or while a buffer of it is
 * exported.
 */
#ifndef WRT_FAST_FASTCALL_H
#define WRT_FAST_FASTCALL_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#include "wrt.h"
#include "wrt_task.h"
#include "wrt_component.h"

#define LIKELY(condition) __builtin_expect(!!(condition), 1)
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)

/* Slot arrays of up to this many words lie on the C stack. */
enum { STACK_WORDS = 32 };

/* How many references are made for guests between two collections in the engine. */
enum { REFS_PER_COLLECTION = 10000 };

/* Declares a thread-local variable, read in one load where a library that is opened at run time may ask for that. */
#ifdef __GLIBC__
#define PER_THREAD __attribute__((tls_model("initial-exec"))) _Thread_local
#else
#define PER_THREAD _Thread_local
#endif

/* The module's state: the types, and the Python functions that C calls (pywasmrt/_shim/bridge.py). */
typedef struct State {
  PyTypeObject *engine_type;
  PyTypeObject *handle_type;
  PyTypeObject *store_type;
  PyTypeObject *function_type;
  PyTypeObject *memory_type;
  PyTypeObject *caller_type;
  PyTypeObject *linked_type;
  PyTypeObject *task_type;
  PyTypeObject *profile_type;
  PyTypeObject *probe_type;
  PyTypeObject *reference_type;
  PyTypeObject *plan_type; /* these four are for components */
  PyTypeObject *component_function_type;
  PyTypeObject *linker_type;
  PyTypeObject *resource_type;
  PyObject *closed_error;
  PyObject *busy_error;
  PyObject *memory_access_error;
  PyObject *wasm_error;
  PyObject *interrupted;
  PyObject *deadline_exceeded;
  PyObject *make_function_type;   /* (param codes, result codes) -> FunctionType */
  PyObject *make_memory_type;     /* (minimum, maximum, is_64, shared, page_size) -> MemoryType */
  PyObject *convert_arguments;    /* (FunctionType, args) -> args, with other kinds of numbers made ints and floats */
  PyObject *convert_result;       /* (FunctionType, value) -> value, likewise */
  PyObject *raise_argument_error; /* (name, FunctionType, args, Function) never returns */
  PyObject *raise_uncallable;     /* (name, FunctionType) never returns */
  PyObject *raise_result_error;   /* (name, FunctionType, value, Function) never returns */
  PyObject *raise_slots_error;    /* (name, FunctionType, slots) never returns */
  PyObject *raise_no_stack;       /* (bytes left, bytes needed) never returns */
  PyObject *raise_no_host_stack;  /* (what it is called, bytes left, bytes needed) never returns */
  PyObject *raise_asynchronous;   /* (name) never returns */
  PyObject *run_pending;          /* () runs a few bytecodes */
  PyObject *call_async;           /* (function, *args) -> the coroutine of a call on another thread */
  PyObject *map_native;           /* (function, *columns, out, on_error) -> the results' columns */
  PyObject *first_wait;           /* (task, seconds or None) -> Wait */
  PyObject *shown_int;            /* (int) -> how an error message shows it */
  PyObject *wasm_exception;       /* the class of exceptions that guests throw and catch */
  PyObject *component_error;      /* the class of a failed function's error */
  PyObject *mapping_class;        /* collections.abc.Mapping */
  PyObject *value_name;           /* "value" */
  PyObject *payload_name;         /* "payload" */
} State;

/* An engine, ticked by the ticker (fast/ticker.c) and deleted when the last store, module or runtime releases it. */
typedef struct Engine {
  PyObject_HEAD
  const wrt_engine_ops *ops;
  wrt_engine *native;   /* owned */
  const wrt_component_ops *component_ops; /* NULL where it runs no components */
  struct Engine *next;  /* among those that are ticked */
  struct Engine **link; /* what points at this one */
} Engine;

/* What an engine handed out, and how it is freed: see fast/handle.c. */
typedef struct Handle {
  PyObject_HEAD
  void *native; /* owned; NULL before there is one, and after it was taken */
  void (*release)(void *native);
} Handle;

typedef struct Store Store;
typedef struct Task Task; /* fast/task.c */
typedef struct Profile Profile; /* fast/profile.c */
struct ComponentState;
typedef struct Thrown Thrown; /* fast/exception.c */

/* A Python object that the guests of a store hold. It is in the store's `refs` until it is released, and also in `garbage` once
 * the engine has dropped it: releasing runs Python code, which must not happen inside the engine. The engine may drop it while
 * guest code runs, so dropping changes nothing that the garbage collector, on any thread, may be looking at. */
typedef struct HostRef {
  struct HostRef *next;
  struct HostRef **link;     /* what points at this one */
  struct HostRef *next_dead; /* in `garbage` */
  bool dead;
  Store *store;     /* borrowed: the store outlives its references */
  PyObject *object; /* owned */
} HostRef;

/* A function that a module imports and Python serves. Owned by the Linked that contains it. */
typedef struct HostImport {
  PyObject *label;            /* owned: a str, for messages; NULL for an import that is not a host function */
  PyObject *type;             /* owned: the FunctionType */
  PyTypeObject *caller_class; /* owned: what to hand over as first argument, or NULL */
  PyObject *codes;            /* owned: the bytes that `types` points at */
  const uint8_t *types;       /* params, then results */
  size_t param_count;
  size_t result_count;
  bool has_refs;
  bool has_objects; /* a type beyond WRT_REF */
  bool awaits; /* what it returns is awaited: it is a coroutine function */
} HostImport;

/* A module and what serves its imports, decided once; immutable. Each instance has its own callables for the host functions. */
typedef struct Linked {
  PyObject_HEAD
  Engine *engine;            /* owned */
  PyObject *keeper;          /* owned: keeps `module` */
  wrt_module *module;        /* borrowed from the keeper */
  wrt_linked *native;        /* owned: the engine's own form, or NULL */
  size_t count;              /* of imports */
  size_t host_count;         /* those that are host functions */
  bool plain;                /* none of those passes references of the proposal gc */
  struct LinkedImport *imports;
} Linked;

/* A Python callable that the guests of a store import; `env` of the engine's host function. */
typedef struct HostCallable {
  const HostImport *import; /* borrowed from the block's Linked */
  Store *store;             /* borrowed: the store outlives its host functions */
  PyObject *callable;       /* owned */
  PyObject *context;        /* borrowed from the block: what the adapter wants to find in a Caller */
} HostCallable;

/* The callables of one instance. Owned by its store. */
typedef struct HostBlock {
  struct HostBlock *next;
  Linked *linked;    /* owned */
  PyObject *context;   /* owned */
  PyObject *originals; /* owned: the tuple of the callables that it was made with; `each` may have others while observed */
  PyObject *replaced;  /* owned: a list of callables taken out of `each` that may still run, or NULL */
  size_t count;
  void **envs; /* of the imports, in this very allocation */
  HostCallable each[];
} HostBlock;

struct Store {
  PyObject_HEAD
  const wrt_engine_ops *ops;
  wrt_store *native;     /* owned; NULL once freed */
  State *state;          /* borrowed from the module */
  PyObject *module;      /* owned */
  uintptr_t owner;       /* the thread inside, while depth > 0 */
  unsigned depth;        /* how many calls into the engine are on the owner's stack */
  bool closed;           /* to the user; the engine's store may outlive this for a while; atomic */
  unsigned views;        /* exported buffers of its memories */
  size_t stack_needed;   /* bytes of stack that a call may use */
  unsigned ref_count;    /* references made since the last collection */
  HostBlock *blocks;
  PyObject *observer; /* owned: what makes the callables that stand in for the host functions, or NULL (fast/observe.c) */
  wrt_instance *closing; /* owned: instances that were closed while they could not be freed */
  size_t closing_count;
  Profile *profile;   /* owned: the last profile made of its guests, which may have ended, or NULL; atomic */
  bool has_linked; /* an instance was made by the engine's own form of a linked module */
  HostRef *refs;
  HostRef *garbage;
  Thrown *thrown; /* owned: the exceptions that host functions threw in the call chain that runs; NULL without any */
  bool releasing; /* `garbage` is being emptied */
  PyObject *parked[3]; /* the exception that is unwinding the guest */
  /* Of the call chain that runs, see fast/gil.c. Times are in nanoseconds of the monotonic clock; 0 is none. */
  bool eager;              /* the GIL is released around every call, as guests do not poll, or wait for other threads */
  bool interruptible;      /* guests poll */
  bool timed;              /* `timeout` or `block_deadline` is set */
  bool stopped;            /* interrupt() was called; atomic */
  PyObject *stop_error;    /* owned: the exception that this and every later call raises; NULL unless one has ended the store */
  PyObject *watchers;      /* owned: a list of callables, each told the error of a call that fails; NULL without */
  unsigned polls;          /* since the call began */
  PyThreadState *released; /* to reacquire the GIL with, while it is released */
  int64_t timeout;         /* for each call */
  int64_t block_deadline;  /* for every call until it is reset */
  int64_t call_deadline;   /* of the call that runs, by `timeout` */
  int64_t deadline;        /* of the call that runs, the earlier of both */
  /* Of an asynchronous store, see fast/task.c. Each borrowed: a task that is among them owns the store. */
  bool asynchronous; /* from its first instantiation on, it is entered by coroutines alone */
  bool suspends;     /* those coroutines are tasks; if not, workers make the calls */
  Task *first;       /* the call that runs or waits in it */
  Task *top;         /* the innermost of the calls that its host functions have made in turn */
  Task *polled;      /* the one whose guest is running, while the engine polls */
  bool rested;       /* the event loop had its turn since the last poll */
  Task *serving;     /* the one whose host function runs, on the thread `owner` */
  struct ComponentState *components; /* owned; NULL where it has none, see fast/component_store.c */
  Engine *engine;      /* owned */
  PyObject *adapter;   /* owned: a weak reference to the adapter's store, by which its runtime finds it; NULL without one */
  Store *next;         /* among all stores of the process, for Engine.stores and the child of a fork */
  Store **link;        /* what points at this one; NULL before it is among them */
  PyObject *fail;      /* owned: the adapter's (result, trap, message, frames), which never returns */
  PyObject *turns;     /* owned: what has workers make the calls (pywasmrt/runtimes/base/turns.py), or NULL */
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
  bool has_refs;  /* a reference in the signature */
  bool closed;    /* the instance was closed, in a store that goes on */
  bool is_short;  /* so it may keep the GIL even where guests do not poll: see function_begin */
  bool barred;    /* a raw call needs a look: that, an asynchronous store, or at_return */
  PyObject *name;  /* owned: a str for messages */
  PyObject *type;  /* owned: the FunctionType */
  PyObject *at_return; /* owned: called with nothing after each call that has returned, or NULL */
  PyObject *weakrefs;
} Function;

extern PyType_Spec engine_spec, store_spec, function_spec, memory_spec, caller_spec, linked_spec, task_spec, handle_spec,
    profile_spec, probe_spec, reference_spec;

/* fast/handle.c */

/* Takes out what the handle owns; the caller owns it from now on. */
void *handle_take(Handle *self);

/* fast/store.c */

/* Turns an engine's failure into a Python exception, and releases it. Tells the store's watchers where it ends a guest's call.
 * Always returns NULL. */
PyObject *raise_failure(Store *store, int result, wrt_failure *failure);
/* Tells the store's watchers, which there are, of the exception that is set, if no host function is to get it. */
void tell_watchers(Store *store);
/* The same on a guest's stack, where no Python code may run: a WasmError of its message, or of `otherwise`. */
void set_failure(Store *store, wrt_failure *failure, const char *otherwise);
/* The same where there is no store; `fail` is the adapter's. `exception` describes a guest's exception to it, or is NULL. */
PyObject *raise_told(const wrt_engine_ops *ops, PyObject *fail, int result, wrt_failure *failure, PyObject *exception);
/* The slow half of store_enter: says why the store cannot be entered, or measures this thread's stack. */
int store_enter_slowly(Store *store, uintptr_t thread);
/* Frees what waited for the end of the call chain: the engine's store if closed, and released references. */
void store_settle(Store *store);
/* Frees the instances that were closed, where the engine can do that now. */
void store_close_instances(Store *store);
/* Releases the objects that guests no longer hold; runs Python code. */
void release_garbage(Store *store);

/* fast/extern.c */

/* Reads a handle out of the bytes object that carries it between Python and C; false with TypeError set. */
bool read_handle(PyObject *object, void *handle, size_t size);

/* The methods of Store that it defines: X(name, flags). */
#define EXTERN_METHODS(X) \
  X(memory, METH_VARARGS) X(table, METH_VARARGS) X(global_, METH_VARARGS) X(close_instance, METH_O) \
  X(instantiate, METH_VARARGS) X(instantiate_async, METH_VARARGS) X(export, METH_VARARGS) \
  X(describe, METH_O) X(function, METH_VARARGS) X(global_get, METH_O) \
  X(global_set, METH_VARARGS) X(table_size, METH_O) X(table_get, METH_VARARGS) \
  X(table_set, METH_VARARGS) X(table_grow, METH_VARARGS) X(tag, METH_O)
#define METHOD_DECLARATION(name, flags) PyObject *store_##name(PyObject *object, PyObject *args);
EXTERN_METHODS(METHOD_DECLARATION)

/* fast/component_*.c: the methods of Store for components, and what a store does for them */
#define COMPONENT_METHODS(X) \
  X(component_function, METH_VARARGS) X(instantiate_component, METH_VARARGS) \
  X(instantiate_component_async, METH_VARARGS) X(component_wasi, METH_VARARGS)
COMPONENT_METHODS(METHOD_DECLARATION)
void component_state_free(Store *store);
int component_state_traverse(Store *store, visitproc visit, void *arg);
/* Whether a guest has written what Python has not got yet, and handing that over: 0, or -1 with an exception set. */
bool component_output_waits(Store *store);
int component_drain(Store *store);

/* fast/function.c */

/* Sets the error of using a function whose instance was closed. Always -1. */
int function_refuse_closed(Function *function);

/* Makes a Function of a handle; its signature is asked of the engine. */
PyObject *function_new(Store *store, const wrt_extern *handle, PyObject *name);
/* The arguments of a typed call into their slots, in a store that may be entered; -1 with an exception set. */
int function_encode(Function *function, PyObject *const *args, wrt_slot *slots);
/* Sets the error of arguments that are too many, too few, or refused by function_encode. Always NULL. */
PyObject *function_refuse(Function *function, PyObject *const *args, Py_ssize_t count);
/* The results in their slots as one value, a tuple of them, or None. */
PyObject *function_decode(Function *function, wrt_slot *slots);

/* A call on a worker thread, as a coroutine (pywasmrt/_shim/asynchronous.py): a new reference, or NULL with an exception. */
PyObject *coroutine_of_call(State *state, PyObject *callee, PyObject *const *args, Py_ssize_t count);

/* fast/exception.c, which also defines Store's method tag */

/* Raises the guest's exception that ended the call, and releases the failure; false, having done neither, where there is
 * none. */
bool raise_exception(Store *store, wrt_failure *failure);
/* A host function of `store` has raised the exception that is set: it goes to the guest (WRT_THROWN), or is set aside for
 * the end of the call (WRT_HOST). */
int throw_or_park(Store *store);
/* Takes the exception that is set, if the store's guests may catch it: it is cleared, and the caller owns it, its tag and its
 * values. Any other exception stays set, and NULL is returned. May run Python code. */
PyObject *exception_to_throw(Store *store, wrt_extern *tag, PyObject **values);
/* Throws it into the guest that has called: WRT_THROWN; or WRT_HOST with an exception set, or with none where the values do
 * not fit the tag. Runs no Python code. */
int exception_send(Store *store, const wrt_extern *tag, PyObject *values, PyObject *exception);
/* Sets the error of values that do not fit, if exception_send has set none. */
void exception_refuse(PyObject *values);
/* Releases the exceptions that are kept until the end of the call chain; may run Python code. */
void thrown_clear(Store *store);
int thrown_traverse(Store *store, visitproc visit, void *arg);

/* A WasmException for the exception that the engine's exception_tag finds; NULL with an exception set. */
PyObject *exception_value(Store *store);

/* fast/reference.c */

/* The two steps inwards for a reference that may refer to an object of the guest's. take_object turns what the slot holds into
 * something owned; decode_taken turns that into a Python value, a new reference, or NULL with an exception set. */
void take_object(Store *store, uint8_t type, wrt_slot *slot);
PyObject *decode_taken(Store *store, wrt_slot *slot);
/* Releases what decode_taken has not handed over. */
void drop_taken(Store *store, wrt_slot *slot);
/* encode_object returns this where it has made a root, which goes into the slot once all the others are made. */
enum { ROOTED = 1 };
/* First step outwards, for types beyond WRT_REF: 0 with the value in its slot, ROOTED, or -1 as encode. */
int encode_object(Store *store, uint8_t type, PyObject *value, wrt_slot *slot, wrt_ref *root);
/* Roots what a Reference of this store refers to; -1 with an exception set. */
int root_reference(Store *store, PyObject *object, wrt_ref *out);
/* As raise_failure, after an operation that was given a value: WRT_INVALID is a TypeError. */
PyObject *raise_refused(Store *store, int result, wrt_failure *failure);
/* The typed call of a function with types beyond WRT_REF. */
PyObject *Function_vectorcall_checked(PyObject *object, PyObject *const *args, size_t flags, PyObject *keywords);

/* fast/batch.c */

/* _map(columns, outs, rows, mask or None, progress): None, or (row, column) of the value that does not fit. */
PyObject *function_map(PyObject *function, PyObject *args);

/* fast/batch_bytes.c */

/* _map_bytes(rows, columns, outs, form, ends, mask, nulls, memory, allocate, pin, release, frees, gives, max_bytes, progress):
 * the results' bytes, None where they are numbers, or the number of the column whose row does not fit. */
PyObject *function_map_bytes(PyObject *function, PyObject *args);

/* fast/host.c */
int call_python(void *env, wrt_caller *caller, wrt_slot *slots);

/* fast/linked.c */

/* The number of an instance's host function among the module's imports. */
size_t linked_import_of(const Linked *linked, const HostImport *host);
int block_traverse(HostBlock *block, visitproc visit, void *arg);
void block_free(HostBlock *block);

/* fast/observe.c */

/* observe(make or None): from now on what `make` returns is called in place of each host function, also in later instances. */
PyObject *store_observe(PyObject *object, PyObject *make);
/* Does that for the callables of one instance: 0, or -1 with an exception set, and then nothing has changed. */
int block_observe(Store *store, HostBlock *block, PyObject *make);

/* fast/profile.c */

/* Samples the guest that polls, if the store's profile has not ended. Needs no GIL. */
void profile_poll(Store *store);

/* fast/task.c */

/* The host function of an asynchronous store: has the task that runs the guest call it. */
int call_waiting(void *env, wrt_caller *caller, wrt_slot *slots);

/* fast/awaitable.c */

/* The call of a function, or an instantiation, to be awaited. `imports` is taken over. NULL with an exception set. */
PyObject *task_of_call(Function *function, PyObject *const *args, Py_ssize_t count);
PyObject *task_of_instantiation(Store *store, Linked *linked, wrt_extern *imports);
/* Ends the wait of the task that waits in the store, if one does, as the store was closed or its call interrupted. */
void tasks_stopped(Store *store);

/* fast/ticker.c */
extern int ticker_calls;   /* how many call chains run; changed with the GIL held */
extern PER_THREAD int thread_calls; /* those of them on this thread: the only ones left in the child of a fork */
enum { TICK_NS = 5 * 1000 * 1000 };
extern int64_t ticker_time; /* when the last tick was, by monotonic_ns; atomic: a clock that costs one load */
extern bool ticker_asleep; /* whether the next call has to wake the ticker; atomic */
void ticker_wake(void);
/* The same for a call that begins in `store` and has been counted: 0, or -1 with an exception set and the count undone. */
int ticker_wake_for(Store *store);
void ticker_stop(void);
/* Lists a store for the child of a fork, until it is dismissed. */
void ticker_enlist(Store *store);
void ticker_dismiss(Store *store);
int64_t monotonic_ns(void);

/* fast/gil.c */

/* A host function or signal handler that runs on this thread in a call of `store`. By these records, a guest that it calls in
 * another store is stopped together with its own. */
typedef struct HostFrame {
  Store *store;
  struct HostFrame *outer;
  const void *greenlet; /* the greenlet that the outer one runs in; NULL without greenlets */
} HostFrame;

/* The innermost frame. A greenlet that is switched inside takes its part of the stack along, and so its frames: code that may
 * run in another greenlet checks host_greenlet first. */
extern PER_THREAD HostFrame *host_frames;

/* fast/greenlet.c */

/* Whether there are greenlets, as far as is known. */
extern bool greenlets_loaded;
/* Looks whether greenlets are loaded, and sets that. */
void greenlets_look(void);
/* The running greenlet, for comparison only; to be called only when greenlets are loaded. */
const void *greenlet_here(void);
/* The greenlet in which the innermost host function of this thread runs; NULL without greenlets. */
extern PER_THREAD const void *host_greenlet;
/* Whether a call may begin on top of the host function that runs on this thread: 0, or -1 with an exception set. */
int greenlet_check(Store *store);
/* Whether that host function runs in this greenlet, so that its frame is there to be read. */
bool greenlet_is_here(void);

/* Called where a host function or signal handler begins, and where it ends. */
static inline void host_begin(HostFrame *frame, Store *store) {
  *frame = (HostFrame){store, host_frames, NULL};
  host_frames = frame;
  if (UNLIKELY(greenlets_loaded)) {
    frame->greenlet = host_greenlet;
    host_greenlet = greenlet_here();
  }
}

static inline void host_end(HostFrame *frame) {
  host_frames = frame->outer;
  if (UNLIKELY(greenlets_loaded)) host_greenlet = frame->greenlet;
}

/* When the interpreter ends, it ends every other thread that asks for the GIL by unwinding its stack. An engine's frames cannot
 * be unwound that way: a thread that has some sleeps instead, and ends with the process. EXIT_GUARD(name) stands below such
 * frames; the function that has it sets name.armed = false before it returns. It costs nothing unless the thread is unwound. */
typedef struct ExitGuard {
  bool armed;
} ExitGuard;
#define EXIT_GUARD(name) __attribute__((cleanup(exit_guard_leave))) ExitGuard name = {true}
_Noreturn void exit_guard_sleep(void);
static inline void exit_guard_leave(ExitGuard *guard) {
  if (UNLIKELY(guard->armed)) exit_guard_sleep();
}

/* The engine's poll: WRT_OK to go on, WRT_PENDING where a task runs the guest, or WRT_HOST with an exception parked on the
 * store `env`, holding the GIL. */
int poll_python(void *env);
/* Has guests that run leave the states of their threads alone, as the interpreter ends. */
void leave_threads(void);
/* Gives the GIL to a thread that waits for it, and takes it back: -1 with the exception that a signal handler raises, or that
 * another thread has set for this one; else 0. */
int let_others_run(Store *store);
/* How many threads have released it by the next two; changed and read with the GIL held. */
extern unsigned gil_released_calls;
/* Releases the GIL for the rest of the call, and reacquires it. */
void gil_release(Store *store);
void gil_retake(Store *store);
/* Parks the exception that is set until the call that the guest is unwound to has ended. Always WRT_HOST. */
int park(Store *store);
/* Whether the call is to end: 0, or -1 with an exception set. With the GIL. */
int check_stopped(Store *store);
/* Whether check_stopped would say so; without the GIL. */
bool is_stopped(Store *store);
/* The time at which the call that runs on this thread has to end, calls further out on the stack included; 0 for never. */
int64_t running_until(Store *store);
/* Sets the deadline of a call that begins: 0, or -1 with an exception set where it has already passed. */
int begin_timed(Store *store);
/* Sets `block_deadline`, also for the running call. */
void set_deadline(Store *store, int64_t until);

/* Identifies the running thread by the value that is quickest to read; no two threads that exist at once share it. */
static inline uintptr_t this_thread(void) {
#if defined(__GNUC__) && (defined(__x86_64__) || defined(__aarch64__)) && defined(__linux__)
  return (uintptr_t)__builtin_thread_pointer();
#else
  return (uintptr_t)PyThreadState_Get();
#endif
}

/* Lowest address of the running thread's stack, 0 where the system does not tell; above every address until it is known. It is
 * thread-local, as a later thread may have the same place and identity but less stack. */
extern PER_THREAD uintptr_t stack_bottom;
/* Bytes above it that are reserved for Python: a guest that has come so far down may call no host function (stack.h). */
extern PER_THREAD size_t stack_for_host;

/* Sets the trap of a guest that calls a host function, `name` in the message, with less stack left than Python may need.
 * Always -1. */
int refuse_host_call(Store *store, PyObject *name);

/* Whether a guest calls a host function with so little stack left. A stack that is not the thread's own, such as that of a
 * guest in an asynchronous store, lies elsewhere and is not measured. */
static inline bool host_lacks_stack(void) {
  return (uintptr_t)__builtin_frame_address(0) - stack_bottom < stack_for_host;
}

/* Enters the store for a call into the engine: 0, or -1 with an exception set. Every successful entry must be left again. */
static inline int store_enter(Store *store) {
  uintptr_t thread = this_thread();
  uintptr_t here = (uintptr_t)__builtin_frame_address(0);
  if (UNLIKELY(store->closed || (store->depth != 0 && store->owner != thread) ||
               (store->depth == 0 && here - store->stack_needed < stack_bottom))) {
    if (store_enter_slowly(store, thread) < 0) return -1;
  }
  if (LIKELY(store->depth == 0)) {
    if (UNLIKELY(thread_calls != 0) && greenlet_check(store) < 0) return -1;
    if (UNLIKELY(store->timed) && (store->first == NULL || store->stop_error != NULL) && begin_timed(store) < 0) return -1;
    store->owner = thread;
    store->polls = 0;
    thread_calls++;
    __atomic_store_n(&ticker_calls, ticker_calls + 1, __ATOMIC_RELAXED);
    __atomic_signal_fence(__ATOMIC_SEQ_CST); /* the ticker's side does the rest of the ordering */
    if (UNLIKELY(__atomic_load_n(&ticker_asleep, __ATOMIC_RELAXED)) && ticker_wake_for(store) < 0) return -1;
  } else if (UNLIKELY(greenlets_loaded) && greenlet_check(store) < 0) {
    return -1;
  }
  store->depth++;
  return 0;
}

static inline void store_leave(Store *store) {
  if (UNLIKELY(--store->depth != 0)) return;
  thread_calls--;
  __atomic_store_n(&ticker_calls, ticker_calls - 1, __ATOMIC_RELAXED);
  if (LIKELY(store->first == NULL)) { /* a guest that waits keeps its deadline, and its interruption */
    store->stopped = false;
    store->deadline = store->call_deadline = 0;
  }
  if (UNLIKELY(store->closed || store->garbage != NULL || store->thrown != NULL)) store_settle(store);
}

/* Around an engine operation that may run guest code: the GIL may be given away in between, and is held after. */
static inline void guest_begin(Store *store) {
  if (UNLIKELY(store->eager)) gil_release(store);
}

static inline void guest_end(Store *store) {
  if (UNLIKELY(store->released != NULL)) gil_retake(store);
}

/* As guest_begin, for a call of a function. A short one keeps the GIL, unless calls that nobody can stop run on other threads:
 * an engine that has a scheduler, as Go has, may let this one wait for their end. */
static inline void function_begin(Function *function) {
  if (UNLIKELY(function->store->eager) && (!function->is_short || gil_released_calls != 0)) gil_release(function->store);
}

/* Whether the store can be looked at by this thread now, without entering: 0, or -1 with an exception set. */
static inline int store_check(Store *store) {
  if (UNLIKELY(store->closed || (store->depth != 0 && store->owner != this_thread())))
    return store_enter_slowly(store, this_thread());
  return 0;
}

#endif
