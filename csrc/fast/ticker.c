/* ticker.c: the ticker, which keeps long calls from blocking Python, and the engines that it ticks.
 *
 * A call starts with the GIL held, so that a short one pays nothing. The ticker, one thread for the process that never takes
 * the GIL, ticks every engine each TICK_NS while any call runs; soon after a tick the engine lets the running guest poll:
 *
 *   first poll of a call    it may have begun just before the tick: nothing is done
 *   second                  the call is a long one: it gives the GIL away for its rest (fast/gil.c)
 *   each                    an interrupt or a deadline ends it; on the main thread Python's signal handlers get their turn
 *
 * Without calls the ticker sleeps. A call finds out by two plain variables whether it has to be woken: the cost of the
 * ordering between them lies on the ticker's side (membarrier).
 */
#include "fastcall.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>
#ifdef __linux__
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#ifdef __APPLE__ /* where conditions know the other clock only */
#define WAITING_CLOCK CLOCK_REALTIME
#else
#define WAITING_CLOCK CLOCK_MONOTONIC
#endif

enum { TICKS_UNTIL_SLEEP = 20 };

int ticker_calls;
PER_THREAD int thread_calls;
bool ticker_asleep = true;
int64_t ticker_time;

static struct {
  pthread_mutex_t lock; /* guards everything here; held for no longer than a tick takes */
  pthread_cond_t changed;
  pthread_t thread;
  bool started;
#ifdef __linux__
  timer_t timer; /* ticks in place of the thread, where none can be started */
  bool timing;
  int idle; /* ticks of the timer without calls */
#endif
  bool quit;
  bool ordered; /* membarrier works */
  Engine *engines;
  Store *stores;
} ticker = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int64_t clock_ns(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t monotonic_ns(void) { return clock_ns(CLOCK_MONOTONIC); }

/* Waits for a change, or for a tick's time; the lock is held before and after. */
static void wait_for_change(int64_t ns) {
  int64_t until = clock_ns(WAITING_CLOCK) + ns;
  struct timespec at = {.tv_sec = until / 1000000000, .tv_nsec = until % 1000000000};
  pthread_cond_timedwait(&ticker.changed, &ticker.lock, &at);
}

/* After this, the ticker sees every call that was counted before, or that call sees that the ticker sleeps. */
static void order_with_calls(void) {
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
#ifdef __linux__
  if (ticker.ordered) syscall(__NR_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
#endif
}

static void sleep_without_calls(void) {
  __atomic_store_n(&ticker_asleep, true, __ATOMIC_RELAXED);
  order_with_calls();
  while (!ticker.quit && ticker_asleep && __atomic_load_n(&ticker_calls, __ATOMIC_RELAXED) == 0) {
    if (ticker.ordered)
      pthread_cond_wait(&ticker.changed, &ticker.lock);
    else
      wait_for_change(10 * (int64_t)TICK_NS); /* a wake-up may be missed: look again */
  }
  __atomic_store_n(&ticker_asleep, false, __ATOMIC_RELAXED);
}

static void *tick(void *unused) {
  int idle = 0;
#ifdef __linux__
  pthread_setname_np(pthread_self(), "pywasmrt-ticker");
#endif
  pthread_mutex_lock(&ticker.lock);
  while (!ticker.quit) {
    idle = __atomic_load_n(&ticker_calls, __ATOMIC_RELAXED) == 0 ? idle + 1 : 0;
    if (idle > TICKS_UNTIL_SLEEP) {
      sleep_without_calls();
      idle = 0;
    }
    wait_for_change(TICK_NS);
    __atomic_store_n(&ticker_time, monotonic_ns(), __ATOMIC_RELAXED);
    for (Engine *engine = ticker.engines; engine != NULL; engine = engine->next) engine->ops->engine_tick(engine->native);
  }
  pthread_mutex_unlock(&ticker.lock);
  return unused;
}

/* In the child of a fork only the forking thread lives on: the ticker starts anew with the next call. Calls that ran on other
 * threads have no owner any more: otherwise a new thread, which may get the identity of one that is gone, would pass for it. */
static void forget_after_fork(void) {
  for (Store *store = ticker.stores; store != NULL; store = store->next) {
    if (store->depth != 0 && (thread_calls == 0 || store->owner != this_thread())) store->owner = 0;
  }
  pthread_mutex_init(&ticker.lock, NULL);
  ticker.started = false;
#ifdef __linux__
  ticker.timing = false; /* timers are not inherited */
#endif
  ticker_asleep = true;
  ticker_calls = thread_calls;
  gil_released_calls = 0; /* this thread holds it */
}

#ifdef __linux__
/* A tick by the timer, in a signal handler on any thread. It is skipped while the lock is held, even by this thread. */
static void tick_by_signal(int signal_number) {
  int saved = errno;
  (void)signal_number;
  if (pthread_mutex_trylock(&ticker.lock) == 0) {
    __atomic_store_n(&ticker_time, monotonic_ns(), __ATOMIC_RELAXED);
    for (Engine *engine = ticker.engines; engine != NULL; engine = engine->next) engine->ops->engine_tick(engine->native);
    ticker.idle = __atomic_load_n(&ticker_calls, __ATOMIC_RELAXED) == 0 ? ticker.idle + 1 : 0;
    if (ticker.idle > TICKS_UNTIL_SLEEP) {
      __atomic_store_n(&ticker_asleep, true, __ATOMIC_RELAXED);
      order_with_calls();
      if (__atomic_load_n(&ticker_calls, __ATOMIC_RELAXED) == 0)
        timer_settime(ticker.timer, 0, &(struct itimerspec){{0, 0}, {0, 0}}, NULL);
      else
        __atomic_store_n(&ticker_asleep, false, __ATOMIC_RELAXED);
      ticker.idle = 0;
    }
    pthread_mutex_unlock(&ticker.lock);
  }
  errno = saved;
}

/* Starts a system timer that ticks by a real-time signal that nothing else uses. Returns whether it could; the lock is held. */
static bool start_timer(void) {
  struct sigaction before, action = {.sa_handler = tick_by_signal, .sa_flags = SA_RESTART};
  int number = SIGRTMAX - 1;
  while (number > SIGRTMIN && (sigaction(number, NULL, &before) != 0 || before.sa_handler != SIG_DFL)) number--;
  if (!ticker.timing) {
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = number};
    if (number <= SIGRTMIN || timer_create(CLOCK_MONOTONIC, &event, &ticker.timer) != 0) return false;
    if (sigaction(number, &action, NULL) != 0) {
      timer_delete(ticker.timer);
      return false;
    }
    ticker.timing = true;
  }
  ticker.idle = 0;
  struct itimerspec each = {{0, TICK_NS}, {0, TICK_NS}};
  return timer_settime(ticker.timer, 0, &each, NULL) == 0;
}

static void stop_timer(void) {
  if (ticker.timing) timer_delete(ticker.timer);
  ticker.timing = false;
}
#else
static bool start_timer(void) { return false; }
static void stop_timer(void) {}
#endif

static void before_fork(void) { pthread_mutex_lock(&ticker.lock); }
static void after_fork(void) { pthread_mutex_unlock(&ticker.lock); }

static void start(void) {
  static bool prepared;
  if (!prepared) {
    pthread_atfork(before_fork, after_fork, forget_after_fork);
#ifdef __linux__
    ticker.ordered = syscall(__NR_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
#endif
    prepared = true;
  }
  pthread_condattr_t attributes;
  pthread_condattr_init(&attributes);
#ifndef __APPLE__
  pthread_condattr_setclock(&attributes, WAITING_CLOCK);
#endif
  pthread_cond_init(&ticker.changed, &attributes);
  pthread_condattr_destroy(&attributes);
  ticker.quit = false;
  sigset_t all, before; /* signals are for the program's threads, which may block and await them */
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  ticker.started = pthread_create(&ticker.thread, NULL, tick, NULL) == 0;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* Where no thread can be started, a timer ticks, and where no timer can be had either, nothing does: the next call tries again.
 * Returns what ticks. */
static enum { BY_THREAD, BY_TIMER, BY_NOTHING } wake(void) {
  pthread_mutex_lock(&ticker.lock);
  __atomic_store_n(&ticker_asleep, false, __ATOMIC_RELAXED);
  if (!ticker.started) start();
  int by = ticker.started ? BY_THREAD : start_timer() ? BY_TIMER : BY_NOTHING;
  if (by == BY_THREAD) {
    stop_timer();
    pthread_cond_signal(&ticker.changed);
  } else if (by == BY_NOTHING) {
    __atomic_store_n(&ticker_asleep, true, __ATOMIC_RELAXED);
  }
  pthread_mutex_unlock(&ticker.lock);
  return by;
}

void ticker_wake(void) { wake(); }

int ticker_wake_for(Store *store) {
  static bool warned;
  int by = wake(), result = 0;
  if (by == BY_THREAD || !store->interruptible) return 0;
  if (by == BY_NOTHING && store->timed) {
    PyErr_SetString(store->state->wasm_error,
                    "no thread can be started, nor a timer set, that would end this call at its deadline: the system's limit "
                    "on processes, threads, signals or memory is reached");
    result = -1;
  } else if (!warned) {
    warned = true;
    store->depth++; /* the warning runs Python code, and no other thread may enter meanwhile */
    result = PyErr_WarnEx(PyExc_RuntimeWarning,
                          by == BY_TIMER ? "no thread can be started that stops guests in time; a timer's signal does instead"
                                         : "no thread can be started, nor a timer set, that would stop guests: deadlines, "
                                           "interrupts and Ctrl-C wait until they return",
                          1);
    store->depth--;
  }
  if (result < 0) { /* the call does not begin */
    thread_calls--;
    __atomic_store_n(&ticker_calls, ticker_calls - 1, __ATOMIC_RELAXED);
    store->deadline = store->call_deadline = 0;
  }
  return result;
}

void ticker_stop(void) {
  pthread_mutex_lock(&ticker.lock);
  bool started = ticker.started;
  ticker.quit = true;
  ticker.started = false;
  stop_timer();
  if (started) pthread_cond_signal(&ticker.changed);
  pthread_mutex_unlock(&ticker.lock);
  if (started) pthread_join(ticker.thread, NULL);
}

void ticker_enlist(Store *store) {
  pthread_mutex_lock(&ticker.lock);
  store->next = ticker.stores;
  store->link = &ticker.stores;
  if (store->next != NULL) store->next->link = &store->next;
  ticker.stores = store;
  pthread_mutex_unlock(&ticker.lock);
}

void ticker_dismiss(Store *store) {
  if (store->link == NULL) return;
  pthread_mutex_lock(&ticker.lock);
  *store->link = store->next;
  if (store->next != NULL) store->next->link = store->link;
  pthread_mutex_unlock(&ticker.lock);
}

/* ---- Engine ---- */

/* Engine(ops address, handle, component ops address or 0): takes the engine over from the handle, which is empty then, and
 * ticks it from now on. */
static PyObject *Engine_new(PyTypeObject *type, PyObject *args, PyObject *keywords) {
  PyObject *ops_address, *handle;
  Py_ssize_t component_ops = 0;
  (void)keywords;
  State *state = PyType_GetModuleState(type);
  if (state == NULL || !PyArg_ParseTuple(args, "O!O!|n", &PyLong_Type, &ops_address, state->handle_type, &handle,
                                          &component_ops))
    return NULL;
  const wrt_engine_ops *ops = PyLong_AsVoidPtr(ops_address);
  if (ops == NULL || ((Handle *)handle)->native == NULL) {
    if (!PyErr_Occurred()) PyErr_SetString(PyExc_ValueError, "there is no engine in the handle");
    return NULL;
  }
  Engine *self = (Engine *)type->tp_alloc(type, 0);
  if (self == NULL) return NULL;
  greenlets_look();
  self->ops = ops;
  self->native = handle_take((Handle *)handle);
  self->component_ops = (const wrt_component_ops *)component_ops;
  pthread_mutex_lock(&ticker.lock);
  self->next = ticker.engines;
  self->link = &ticker.engines;
  if (self->next != NULL) self->next->link = &self->next;
  ticker.engines = self;
  pthread_mutex_unlock(&ticker.lock);
  return (PyObject *)self;
}

static void Engine_dealloc(PyObject *object) {
  Engine *self = (Engine *)object;
  PyTypeObject *type = Py_TYPE(self);
  pthread_mutex_lock(&ticker.lock);
  *self->link = self->next;
  if (self->next != NULL) self->next->link = self->link;
  pthread_mutex_unlock(&ticker.lock);
  self->ops->engine_delete(self->native);
  type->tp_free(self);
  Py_DECREF(type);
}

/* How many stores of the engine belong to an adapter's. The list changes with the GIL held only. */
static Py_ssize_t count_stores(const Engine *self) {
  Py_ssize_t count = 0;
  for (const Store *store = ticker.stores; store != NULL; store = store->next)
    count += store->engine == self && store->adapter != NULL;
  return count;
}

/* stores() -> weak references to the adapter's stores of this engine */
static PyObject *Engine_stores(PyObject *object, PyObject *unused) {
  Engine *self = (Engine *)object;
  (void)unused;
  for (;;) {
    Py_ssize_t count = count_stores(self);
    PyObject *found = PyTuple_New(count); /* this may collect garbage, and destructors may make and end stores */
    if (found == NULL) return NULL;
    if (count != count_stores(self)) {
      Py_DECREF(found);
      continue;
    }
    for (const Store *store = ticker.stores; store != NULL; store = store->next)
      if (store->engine == self && store->adapter != NULL) PyTuple_SET_ITEM(found, --count, Py_NewRef(store->adapter));
    return found;
  }
}

static PyMethodDef engine_methods[] = {
    {"stores", Engine_stores, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot engine_slots[] = {
    {Py_tp_doc, "An engine, kept while anything needs it; for the adapters."},
    {Py_tp_new, Engine_new},
    {Py_tp_methods, engine_methods},
    {Py_tp_dealloc, Engine_dealloc},
    {0, NULL},
};

PyType_Spec engine_spec = {
    .name = "pywasmrt._shim._fastcall.Engine",
    .basicsize = sizeof(Engine),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = engine_slots,
};
