/* fast_gil.c: what a running call does at a poll: gives the GIL away, takes it back, and ends when it is told to. */
#include "wrt_fastcall.h"

#include <unistd.h>

/* Polls between two looks for signals, on the main thread of a call that has given the GIL away. */
enum { POLLS_PER_SIGNAL_CHECK = 10 };

void gil_release(Store *store) { store->released = PyEval_SaveThread(); }

void gil_retake(Store *store) {
  PyThreadState *thread = store->released;
  store->released = NULL; /* first: whoever gets the GIL next must not find it */
  PyEval_RestoreThread(thread);
}

int park(Store *store) {
  PyErr_Fetch(&store->parked[0], &store->parked[1], &store->parked[2]);
  return WRT_HOST;
}

int check_stopped(Store *store) {
  if (store->closed) {
    PyErr_SetString(store->state->closed_error, "the store was closed during this call");
    return -1;
  }
  if (__atomic_exchange_n(&store->stopped, false, __ATOMIC_RELAXED)) {
    PyErr_SetString(store->state->interrupted, "the call was stopped by interrupt()");
    return -1;
  }
  if (store->deadline != 0 && monotonic_ns() >= store->deadline) {
    PyErr_SetString(store->state->deadline_exceeded, "the call reached its deadline");
    return -1;
  }
  return 0;
}

static bool is_stopped(Store *store) {
  return __atomic_load_n(&store->closed, __ATOMIC_RELAXED) || __atomic_load_n(&store->stopped, __ATOMIC_RELAXED) ||
         (store->deadline != 0 && monotonic_ns() >= store->deadline);
}

static bool on_main_thread(void) {
#ifdef __linux__
  return getpid() == gettid();
#else
  return _PyOS_IsMainThread();
#endif
}

int poll_python(void *env) {
  Store *store = env;
  bool stopped = is_stopped(store);
  unsigned polls = ++store->polls;
  if (store->released == NULL) {
    if (polls == 1 && !stopped) return WRT_OK; /* perhaps just begun */
  } else {
    if (!stopped && !(polls % POLLS_PER_SIGNAL_CHECK == 0 && on_main_thread())) return WRT_OK;
    gil_retake(store);
  }
  if (check_stopped(store) < 0 || PyErr_CheckSignals() < 0) return park(store);
  gil_release(store);
  return WRT_OK;
}

int begin_timed(Store *store) {
  int64_t now = monotonic_ns();
  store->deadline = store->block_deadline;
  if (store->timeout != 0 && (store->deadline == 0 || now + store->timeout < store->deadline))
    store->deadline = now + store->timeout;
  if (now < store->deadline) return 0;
  store->deadline = 0; /* no call begins that it could be the deadline of */
  PyErr_SetString(store->state->deadline_exceeded, "the deadline had passed before the call began");
  return -1;
}
