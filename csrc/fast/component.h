/* component.h: what the files of the components' call path (component_*.c) share.
 *
 *   component_plan.c      a plan: how the values of one WIT type cross, made once for a type
 *   component_arena.c     memory for the values of a call's arguments
 *   component_lower.c     Python objects to values of the engine, by a plan
 *   component_lift.c      and back
 *   component_function.c  an exported function as a Python callable
 *   component_task.c      a call that can be suspended, and host functions that wait
 *   component_linker.c    what a component imports: host functions as Python callables, and the host's resources
 *   component_resource.c  handles to resources
 *   component_store.c     what a store keeps for components, and instances
 *   component_wasi.c      what guests write to their streams
 *
 * The values of a call's arguments live in an arena of the caller's and borrow the text of Python's strings. The values of a
 * host function's result are made of the engine's own memory. A lowering says which of the two it is for.
 *
 * C does not know why a value is refused: lowering only tells that it does not fit, and Python words the error
 * (pywasmrt/component/codecs.py), as for functions of modules.
 */
#ifndef WRT_FAST_COMPONENT_H
#define WRT_FAST_COMPONENT_H

#include "fastcall.h"
#include "wrt_component.h"

#include <pthread.h>

/* The kind of a plan: a wrt_value_kind, or one of these, which are more specific. */
enum {
  PLAN_OWN = WRT_VALUE_RESOURCE,
  PLAN_BORROW,
  PLAN_BYTES /* list<u8> */
};

/* How the values of a type cross. Immutable; owned by functions and by other plans. */
typedef struct Plan {
  PyObject_HEAD
  uint8_t kind;
  bool wrapped;     /* an option: `Some` around its payload, as options nest */
  bool plain;       /* a record: instances of `type` hold their fields at `offsets` */
  uint32_t host_type; /* a resource of the host's: its number; 0 for one of the guest's */
  uint32_t count;   /* of children and names */
  struct Plan **children; /* owned; the element, payload (NULL where there is none), fields, cases */
  wrt_text *names;  /* owned, with the text; of fields, cases, flags */
  PyObject **attributes; /* owned; of a record: the names of its fields in Python, interned */
  Py_ssize_t *offsets;   /* owned; of a record, where `plain` */
  PyObject *type;   /* owned; the class of a record, enum or flags, of a guest's resource; of an option `Some`; of
                     * a number the function that makes an int or a float of one of another kind; or NULL */
  PyObject **objects;    /* owned; of a variant: the class of each case; of an enum: each member; of a result: Ok and Err */
  PyObject *index;  /* owned; a dict of what `objects` holds to its number; or NULL */
  PyObject *cache;  /* owned; of flags: a dict of bits to members */
} Plan;

/* Memory for the values of one call. It is the store's scratch memory where that is free, and otherwise memory of its own. */
typedef struct Arena {
  char *at;
  char *end;
  struct ArenaBlock *blocks; /* owned */
  struct ArenaHeld *held;    /* objects that the values borrow from, and handles to give back */
} Arena;

/* What the values of an arena borrow from, or what is to be given back when they are gone. */
typedef struct ArenaHeld {
  struct ArenaHeld *next;
  PyObject *object;     /* owned, or NULL: text, or a guest's resource that is given away */
  wrt_resource *handle; /* owned, or NULL: to a resource of the host's */
  uint32_t rep;
  bool owned;
} ArenaHeld;

typedef struct Lowering {
  Store *store;
  const wrt_component_ops *ops;
  Arena *arena; /* NULL where the engine's memory is to be used */
} Lowering;

typedef struct Lifting {
  Store *store;
  const wrt_component_ops *ops;
  bool in_host;   /* the values are the arguments of a host function */
  PyObject *lent; /* owned: a list of the resources that are lent to it, or NULL */
} Lifting;

/* A handle to a resource of a guest's, as Python holds it; the base of the classes that Python makes. */
typedef struct Resource {
  PyObject_HEAD
  Store *store;         /* owned; NULL in one that was never given a handle */
  const wrt_component_ops *ops;
  wrt_resource *native; /* owned; NULL once it was given away or dropped */
  bool borrowed;        /* lent to the host function that runs */
  bool giving;          /* an argument of a call that begins takes it */
  PyObject *weakrefs;
} Resource;

/* What a linker's host function needs. */
typedef struct HostEntry {
  PyObject *callable;    /* owned */
  PyObject *signature;   /* owned: words the error of a wrong result */
  Plan *result;          /* owned, or NULL */
  bool fallible;         /* its result is a result<…>: returned, or raised as `error_type` */
  bool awaits;           /* it is a coroutine function */
  PyObject *label;       /* owned: a str, for messages */
  uint32_t count;
  Plan *params[]; /* owned */
} HostEntry;

typedef struct Linker {
  PyObject_HEAD
  Engine *engine;       /* owned */
  State *state;         /* borrowed from the module */
  PyObject *module;     /* owned */
  wrt_linker *native;   /* owned */
  HostEntry **entries;  /* owned */
  size_t count;
  bool waits;           /* its host functions may wait: it serves stores whose guests can be suspended */
  bool used;            /* it has instantiated, so nothing more can be defined in it */
} Linker;

/* An exported function. */
typedef struct ComponentFunction {
  PyObject_HEAD
  vectorcallfunc vectorcall;
  Store *store; /* owned */
  const wrt_component_ops *ops;
  wrt_component_function handle;
  size_t param_count;
  Plan **params;       /* owned */
  Plan *result;        /* owned, or NULL */
  bool fallible;       /* the result is a result<…> */
  bool closed;         /* the instance was closed, in a store that goes on */
  PyObject *name;      /* owned: for messages */
  PyObject *signature; /* owned: the Python half, which names the parameters and words the errors */
  PyObject *keywords;  /* owned: the names of the parameters in Python */
  PyObject *instance;  /* owned: what keeps the instance alive */
  PyObject *weakrefs;
} ComponentFunction;

/* What guests write to stdout or stderr, until Python takes it. */
typedef struct ComponentStream {
  pthread_mutex_t lock; /* of the bytes */
  char *data;           /* owned */
  size_t size, capacity;
  bool waits;     /* there are bytes; atomic */
  PyObject *sink; /* owned: what takes them; or NULL */
} ComponentStream;

/* What a store keeps for its components; made at the first need. */
typedef struct ComponentState {
  PyObject *linkers;   /* owned: a list of the linkers that instantiated here, which their guests go on using */
  HostRef **resources; /* owned; the host's resources that guests hold, by number */
  uint32_t capacity;
  uint32_t free;       /* first number that may be free */
  wrt_resource **forgotten; /* owned: handles whose objects died; dropped at the next call */
  size_t forgotten_count, forgotten_capacity;
  char *scratch;       /* owned; memory for an arena */
  size_t scratch_size;
  bool scratch_taken;
  ComponentStream streams[2]; /* stdout, stderr */
  bool has_streams;           /* one of them is in use */
  bool draining;
} ComponentState;

extern PyType_Spec plan_spec, component_function_spec, linker_spec, resource_spec;

/* component_lower.c */

/* Puts `object` into `out`: 0, or -1, with an exception set or, where the object just does not fit the plan, without one. `out`
 * is a valid value in every case. */
int lower(Lowering *lowering, Plan *plan, PyObject *object, wrt_value *out);
/* The same for an argument. The caller holds it until the call is over, so a string need not be held once more. */
int lower_argument(Lowering *lowering, Plan *plan, PyObject *object, wrt_value *out);
/* component_arena.c */

/* Opens an arena over memory of the caller's own stack; when that is used up it takes more. */
void arena_open(Arena *arena, char *stack, size_t size);
/* Memory of whole words, not cleared; NULL with an exception set. */
void *arena_take(Lowering *lowering, size_t count, size_t size);
/* Holds an object for as long as the values are there; NULL with an exception set. */
ArenaHeld *arena_hold(Lowering *lowering, PyObject *object);
/* Frees what the values of the arena consisted of, and gives back what they borrowed. `called`: the engine has taken them. */
void arena_close(Arena *arena, Store *store, bool called);

/* component_lift.c */

/* The object that `value` stands for, a new reference; NULL with an exception set. */
PyObject *lift(Lifting *lifting, Plan *plan, const wrt_value *value);

/* component_resource.c */

/* A handle as a Python object of class `type`; takes `native` over, also on failure. */
PyObject *resource_object(Store *store, PyTypeObject *type, wrt_resource *native, bool borrowed);
/* Keeps `object` for guests under a number: 0, or -1 with an exception set. */
int host_resource_keep(Store *store, PyObject *object, uint32_t *rep);
/* The object under a number, borrowed; NULL with an exception set. */
PyObject *host_resource_get(Store *store, uint32_t rep);
/* Lets go of a number. Needs no GIL; the object is released with the store's garbage. */
void host_resource_drop(void *env, void *host, uint32_t rep);
/* Drops the handles whose objects died. With the GIL, between calls. */
void drop_forgotten(Store *store);

/* component_store.c */

/* The store's state for components; NULL with an exception set. */
ComponentState *component_state(Store *store);

/* component_wasi.c */
void component_streams_free(ComponentState *state);

/* component_linker.c */
int call_component_host(void *env, void *host, wrt_value *args, size_t arg_count, wrt_value *results, size_t result_count);
/* Puts what a host function returned, or the exception that it raised, into its results: 0, or -1 with an exception set. */
int put_result(Lowering *lowering, HostEntry *entry, PyObject *value, wrt_value *results);
int put_error(Lowering *lowering, HostEntry *entry, wrt_value *results);
/* Ends what was lent to a host function; takes the list over. */
void end_loans(Store *store, PyObject *lent);

/* component_function.c */

/* Says why the arguments do not fit. Always NULL. */
PyObject *component_refuse(ComponentFunction *self, PyObject *const *args, Py_ssize_t count);
/* Sets the error of a function whose instance was closed. Always NULL. */
PyObject *component_refuse_closed(ComponentFunction *self);
/* Sets the error of a call into a component that is running. Always NULL. */
PyObject *component_refuse_reentrance(ComponentFunction *self);
/* The Python value of a result, which is cleared; NULL with an exception set. */
PyObject *component_take_result(ComponentFunction *self, wrt_value *result);

/* component_task.c */

/* The call of a function, or the instantiation of a component that `keeper` keeps, to be awaited; NULL with an exception. */
PyObject *task_of_component_call(ComponentFunction *function, PyObject *args);
PyObject *task_of_component(Store *store, Linker *linker, PyObject *keeper, wrt_component *component);
/* The host function of a linker that waits: has the task that runs the guest call it. */
int call_component_waiting(void *env, void *host, wrt_value *args, size_t arg_count, wrt_value *results,
                           size_t result_count);

#endif
