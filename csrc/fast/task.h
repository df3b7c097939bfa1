/* task.h: a call that can be suspended, as shared by task.c, which runs it, awaitable.c, which shows it to Python, and the two
 * kinds of calls. */
#ifndef WRT_FAST_TASK_H
#define WRT_FAST_TASK_H

#include "host.h" /* first: Python.h sets what the system headers offer */

typedef enum { BEGUN_NEVER, RUNNING, TICKED, WAITING, ENDED, CUT_OFF } Phase;

/* What is particular to the calls of modules (task_module.c), and to those of components (component_task.c). */
typedef struct TaskKind {
  /* Prepares the arguments of a call that is about to begin: 0, or -1 with an exception set. */
  int (*prepare)(Task *self);
  /* Begins the engine's task, on the guest's stack if it is not the first of its chain: WRT_OK, or how it failed. */
  int (*begin)(Task *self);
  /* Calls the Python callable that the guest has called: a new reference, or NULL with an exception set. */
  PyObject *(*call_host)(Task *self);
  /* Puts what the callable has returned, a borrowed reference, where the guest takes it: 0, or -1 with an exception set. */
  int (*answer)(Task *self, PyObject *value);
  /* The same for the exception that is set, which it takes if that is an answer: 0, or -1 with an exception set. */
  int (*answer_error)(Task *self);
  /* Releases what belongs to the host function that the guest has called. */
  void (*forget_host)(Task *self);
  /* What the guest has returned: a new reference, or NULL with an exception set. */
  PyObject *(*result)(Task *self);
  /* Releases what the call was made with, once the engine's task is gone. Runs no Python code but finalizers. */
  void (*release)(Task *self);
  int (*traverse)(Task *self, visitproc visit, void *arg);
  /* Frees the rest, with the object. */
  void (*free)(Task *self);
} TaskKind;

/* What a store served, on which thread, before a task's own host function. */
typedef struct Serving {
  Task *task;
  uintptr_t owner;
} Serving;

struct Task {
  PyObject_HEAD
  const TaskKind *kind;
  Store *store;   /* owned */
  PyObject *name; /* owned: of the function; NULL for an instantiation */
  Phase phase;
  Task *outer;      /* in the store's chain: the task whose host function made this call */
  Task *inner;      /* the call that a host function of this one made */
  wrt_task *native; /* owned; NULL until the guest first runs */
  int result;       /* of the last poll */
  wrt_failure failure;
  int64_t deadline; /* in ns of the monotonic clock; 0 for none */
  PyObject *wait;   /* owned: the Wait that can end the wait (pywasmrt/_shim/waiting.py); NULL before the first */
  bool ending;      /* it was told to */
  /* The host function that the guest has called; `host` is NULL while there is none. */
  void *host;        /* borrowed: a HostCallable that the store keeps, or a HostEntry that its linker keeps */
  PyObject *label;   /* borrowed from it: for messages */
  bool awaits;       /* what it returns is to be awaited */
  PyObject *awaited; /* owned: the iterator that is driven; NULL without one */
  PyObject *answer;  /* owned: what it returned, if that goes into the slots on the guest's stack */
  bool answered;     /* the answer is where the guest takes it, or `answer` is it */
  PyObject *values;  /* owned: `answer` is an exception to throw into the guest, with these; NULL where it is not */
  bool refused;      /* the answer did not fit */
  PyObject *weakrefs;
  struct ComponentCall *component; /* owned; NULL for a module. The following is for modules: */
  Function *function;              /* owned; NULL for an instantiation */
  PyObject *args;                  /* owned: a tuple; NULL likewise */
  Linked *linked;                  /* owned: of an instantiation */
  wrt_extern *imports;             /* owned: what serves its imports */
  wrt_instance instance;
  wrt_extern tag;      /* of the exception that is thrown into the guest */
  wrt_slot *arguments; /* the engine's: the arguments of the host function, then its results */
  wrt_caller *native_caller;
  Caller *caller;  /* owned, or NULL */
  wrt_slot *slots; /* owned unless `few` */
  wrt_slot few[8];
};

/* awaitable.c */

/* A new task in the store; NULL with an exception set. */
Task *task_new(Store *store, const TaskKind *kind, PyObject *name);

/* task.c. A PySendResult comes with what was yielded or returned in `out`, or with an exception set, as in PyIter_Send. */

/* Puts a new task on top of its store's chain, with its arguments in their slots: 0, or -1 with an exception set. */
int task_enter(Task *self);
/* Goes on until the guest ends or waits. */
PySendResult task_go_on(Task *self, PyObject **out);
/* Takes the outcome of driving the coroutine that the guest waits for, `result` and `value`, and goes on. */
PySendResult task_driven(Task *self, PySendResult result, PyObject *value, PyObject **out);
/* Whether the task is still in its store's chain, after Python code has run: 0, or -1 with an exception set. An outer call of
 * another greenlet or thread may have ended meanwhile, and with it this one's guest. */
int task_check_chain(Task *self);
/* Ends the task with the exception that is set. Always PYGEN_ERROR. */
PySendResult task_fail(Task *self);
/* Ends a task that has begun, and with it the unfinished calls that its host functions have made. May run Python code; an
 * exception that is set stays so. */
void task_finish(Task *self);
/* Counts the calls into the store that follow on this thread as the chain's, until task_served is given what this returns. */
Serving task_serve(Task *self);
void task_served(Task *self, Serving before);
/* Ends the wait early, as it has to: the coroutine that awaits the task is cancelled. */
void task_end_wait(Task *self);
/* Releases what belongs to the host function that the guest has called. */
void task_forget_host(Task *self);
/* Runs the guest of one task of the chain: the first on this thread's stack, each other one on that of the one before. */
void task_step(Task *self);

#endif
