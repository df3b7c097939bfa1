/* profile.c: where the guests of a store spend their time, sampled when they poll.
 *
 * The engine takes the guest's stack (profile_sample of the table); here stands what it cannot know: how long ago the last
 * sample was, and which host functions were running. A host function does not poll. So a Probe is called in its place. It looks
 * at the ticker's clock before and after the call, and takes a sample if there was a tick in between: the stack of the guest is
 * then what it was during the call.
 *
 * A guest that a host function calls lies above that host function, and the engine reports the stacks of both guests in one
 * list. Where the host function belongs in that list is known when it ends: the stack is then that of the outer guest alone,
 * and its length is the place. The sample taken then is the host function's marker.
 *
 * Samples are taken by the thread that runs the guest, with or without the GIL, and a profile may be ended by any other:
 * `lock` is held for a sample and for the end. A store keeps its profile until it makes another, so that a guest which polls
 * finds one that has ended, and never one that was freed.
 */
#include "fastcall.h"

#include <pthread.h>
#include <unistd.h>

/* The call of a host function that runs, on the C stack. */
typedef struct Entry {
  struct Entry *outer;
  int64_t begun;   /* the ticker's time */
  int32_t number;  /* the probe's */
  int32_t running; /* its place among the profile's `running`, or -1 while no sample was taken within it */
} Entry;

/* A call of a host function in which a sample was taken. */
typedef struct Running {
  int64_t own;     /* ns that it took itself, before a guest that it called polled */
  int32_t outer;   /* the one around it, or -1 */
  int32_t number;  /* the probe's */
  int32_t marker;  /* the sample with the stack of the guest that called it, or -1 */
  int32_t padding; /* so that the struct has no padding */
} Running;

typedef struct Sample {
  int64_t time;    /* in ns of the monotonic clock */
  int64_t weight;  /* ns that it stands for; 0 for one that is only a marker */
  int32_t running; /* the innermost host function around the guest, or -1 */
  int32_t number;  /* of the probe whose host function the guest was calling, or -1 */
} Sample;

struct Profile {
  PyObject_HEAD
  pthread_mutex_t lock; /* of all but `top`, which is the running thread's */
  pid_t process;        /* the child of a fork does not use it: a thread that is gone may hold the lock */
  Engine *engine;       /* owned */
  wrt_profile *native;  /* owned; NULL once ended */
  bool ended;           /* atomic */
  int64_t accounted;    /* the ticker's time up to which all time is in samples */
  Entry *top;           /* the innermost call of a host function */
  Sample *samples;      /* owned */
  size_t count, room, most;
  Running *running;     /* owned */
  size_t running_count, running_room;
  unsigned long long dropped; /* how many samples there was no room for */
  struct Profile *before;     /* owned: one that a guest may still be looking at, or NULL */
};

typedef struct Probe {
  PyObject_HEAD
  vectorcallfunc vectorcall;
  Store *store;       /* borrowed: its host functions are called from its guests only */
  Profile *profile;   /* owned */
  PyObject *callable; /* owned */
  int32_t number;
} Probe;

/* ---- samples ---- */

static int64_t ticker_now(void) { return __atomic_load_n(&ticker_time, __ATOMIC_RELAXED); }

static bool make_room(void **items, size_t *room, size_t count, size_t size) {
  if (count < *room) return true;
  size_t wanted = *room == 0 ? 256 : *room * 2;
  void *grown = PyMem_RawRealloc(*items, wanted * size);
  if (grown == NULL) return false;
  *items = grown;
  *room = wanted;
  return true;
}

/* The place of a host function that runs among `running`, entered there with those around it; -1 for none. */
static int32_t place_of(Profile *self, Entry *entry) {
  if (entry == NULL) return -1;
  if (entry->running >= 0) return entry->running;
  int32_t outer = place_of(self, entry->outer);
  if (!make_room((void **)&self->running, &self->running_room, self->running_count, sizeof *self->running)) return outer;
  self->running[self->running_count] = (Running){0, outer, entry->number, -1, 0};
  return entry->running = (int32_t)self->running_count++;
}

/* Takes a sample; the lock is held. Returns its number, or -1 where there is no room. */
static int32_t take_sample(Profile *self, Store *store, int64_t weight, int32_t number) {
  if (self->count >= self->most ||
      !make_room((void **)&self->samples, &self->room, self->count, sizeof *self->samples)) {
    self->dropped++;
    return -1;
  }
  self->engine->ops->profile_sample(self->native, store->native);
  self->samples[self->count] = (Sample){monotonic_ns(), weight, place_of(self, self->top), number};
  return (int32_t)self->count++;
}

/* Locks a profile that has not ended; false where it has. */
static bool lock_running(Profile *self) {
  if (__atomic_load_n(&self->ended, __ATOMIC_RELAXED) || self->process != getpid()) return false;
  pthread_mutex_lock(&self->lock);
  if (!self->ended) return true;
  pthread_mutex_unlock(&self->lock);
  return false;
}

void profile_poll(Store *store) {
  Profile *self = __atomic_load_n(&store->profile, __ATOMIC_ACQUIRE);
  if (!lock_running(self)) return;
  int64_t now = ticker_now(), weight = now - self->accounted, own = 0;
  if (store->polls == 0 && weight > TICK_NS) weight = TICK_NS; /* the call began since the last tick */
  if (self->top != NULL && weight > TICK_NS) { /* a running guest would have polled before, so the host function was running */
    own = weight - TICK_NS;
    weight = TICK_NS;
  }
  self->accounted = now;
  if (weight > 0 && take_sample(self, store, weight, -1) >= 0 && self->top != NULL && self->top->running >= 0)
    self->running[self->top->running].own += own;
  pthread_mutex_unlock(&self->lock);
}

/* A host function has ended during which there was a tick or a sample. */
static void host_ended(Profile *self, Store *store, Entry *entry) {
  if (!lock_running(self)) return;
  int64_t now = ticker_now(), since = entry->begun > self->accounted ? entry->begun : self->accounted;
  self->accounted = now;
  if (now > since || entry->running >= 0) {
    int32_t marker = take_sample(self, store, now > since ? now - since : 0, entry->number);
    if (entry->running >= 0) self->running[entry->running].marker = marker;
  }
  pthread_mutex_unlock(&self->lock);
}

/* ---- Probe ---- */

static PyObject *Probe_call(PyObject *object, PyObject *const *args, size_t count, PyObject *names) {
  Probe *self = (Probe *)object;
  Profile *profile = self->profile;
  if (UNLIKELY(__atomic_load_n(&profile->ended, __ATOMIC_RELAXED)))
    return PyObject_Vectorcall(self->callable, args, count, names);
  Store *store = self->store; /* the call may drop the probe; the profile is kept by the store as well */
  Entry entry = {profile->top, ticker_now(), self->number, -1};
  profile->top = &entry;
  PyObject *result = PyObject_Vectorcall(self->callable, args, count, names);
  profile->top = entry.outer;
  if (UNLIKELY(ticker_now() != entry.begun || entry.running >= 0)) host_ended(profile, store, &entry);
  return result;
}

/* Probe(Store, Profile, callable, number) */
static PyObject *Probe_new(PyTypeObject *type, PyObject *args, PyObject *keywords) {
  PyObject *store, *profile, *callable;
  int number;
  (void)keywords;
  State *state = PyType_GetModuleState(type);
  if (state == NULL || !PyArg_ParseTuple(args, "O!O!Oi", state->store_type, &store, state->profile_type, &profile,
                                         &callable, &number))
    return NULL;
  Probe *self = (Probe *)type->tp_alloc(type, 0);
  if (self == NULL) return NULL;
  self->vectorcall = Probe_call;
  self->store = (Store *)store;
  self->profile = (Profile *)Py_NewRef(profile);
  self->callable = Py_NewRef(callable);
  self->number = number;
  return (PyObject *)self;
}

static int Probe_traverse(PyObject *object, visitproc visit, void *arg) {
  Py_VISIT(Py_TYPE(object));
  Py_VISIT(((Probe *)object)->callable);
  Py_VISIT((PyObject *)((Probe *)object)->profile);
  return 0;
}

static void Probe_dealloc(PyObject *object) {
  PyTypeObject *type = Py_TYPE(object);
  PyObject_GC_UnTrack(object);
  Py_XDECREF(((Probe *)object)->callable);
  Py_XDECREF((PyObject *)((Probe *)object)->profile);
  type->tp_free(object);
  Py_DECREF(type);
}

static PyMemberDef probe_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Probe, vectorcall), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot probe_slots[] = {
    {Py_tp_doc, "Stands in for a host function while a profile is made; for the adapters."},
    {Py_tp_new, Probe_new},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_traverse, Probe_traverse},
    {Py_tp_dealloc, Probe_dealloc},
    {Py_tp_members, probe_members},
    {0, NULL},
};

PyType_Spec probe_spec = {
    .name = "pywasmrt._shim._fastcall.Probe",
    .basicsize = sizeof(Probe),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = probe_slots,
};

/* ---- Profile ---- */

/* Makes it the profile of the store. A running guest may be looking at the previous one, which is kept then. */
static void install(Store *store, Profile *self) {
  Profile *before = store->profile;
  if (before != NULL && store->depth != 0)
    self->before = before;
  else
    Py_XDECREF((PyObject *)before);
  __atomic_store_n(&store->profile, (Profile *)Py_NewRef((PyObject *)self), __ATOMIC_RELEASE);
}

/* Profile(Store, addresses of modules that the caller keeps open, most samples): begins to sample the guests of the store,
 * whichever thread they run on. ValueError where another has not ended. */
static PyObject *Profile_new(PyTypeObject *type, PyObject *args, PyObject *keywords) {
  PyObject *given, *modules;
  Py_ssize_t most;
  (void)keywords;
  State *state = PyType_GetModuleState(type);
  if (state == NULL || !PyArg_ParseTuple(args, "O!O!n", state->store_type, &given, &PyTuple_Type, &modules, &most))
    return NULL;
  Store *store = (Store *)given;
  if (store->closed || store->ops->profile_new == NULL) {
    PyErr_SetString(store->closed ? state->closed_error : PyExc_ValueError,
                    store->closed ? "the store is closed, and with it everything in it" : "this engine shows no stacks");
    return NULL;
  }
  if (store->profile != NULL && !store->profile->ended) {
    PyErr_SetString(PyExc_ValueError, "the store is being profiled already");
    return NULL;
  }
  size_t count = (size_t)PyTuple_GET_SIZE(modules);
  wrt_module **natives = PyMem_Calloc(count + 1, sizeof *natives);
  if (natives == NULL) return PyErr_NoMemory();
  for (size_t i = 0; i < count; i++) {
    natives[i] = PyLong_AsVoidPtr(PyTuple_GET_ITEM(modules, (Py_ssize_t)i));
    if (natives[i] == NULL) {
      if (!PyErr_Occurred()) PyErr_SetString(PyExc_ValueError, "there is no module at 0");
      PyMem_Free(natives);
      return NULL;
    }
  }
  Profile *self = (Profile *)type->tp_alloc(type, 0);
  if (self != NULL) {
    self->ended = true; /* until it has begun */
    pthread_mutex_init(&self->lock, NULL);
    self->engine = (Engine *)Py_NewRef((PyObject *)store->engine);
    self->process = getpid();
    self->most = (size_t)most;
    self->accounted = ticker_now();
    wrt_failure failure;
    int result = store->ops->profile_new(self->engine->native, natives, count, &self->native, &failure);
    if (result != WRT_OK) {
      raise_failure(store, result, &failure);
      Py_CLEAR(self);
    } else {
      self->ended = false;
      install(store, self);
    }
  }
  PyMem_Free(natives);
  return (PyObject *)self;
}

/* The arrays as bytes, with the text: (JSON, samples, running, dropped), or NULL with an exception set. */
static PyObject *contents(Profile *self, const wrt_bytes *text) {
  const void *samples = self->count == 0 ? "" : (const void *)self->samples; /* NULL would be taken for None */
  const void *running = self->running_count == 0 ? "" : (const void *)self->running;
  PyObject *result = Py_BuildValue("y#y#y#K", text->data, (Py_ssize_t)text->size, samples,
                                   (Py_ssize_t)(self->count * sizeof *self->samples), running,
                                   (Py_ssize_t)(self->running_count * sizeof *self->running), self->dropped);
  PyMem_RawFree(self->samples);
  PyMem_RawFree(self->running);
  self->samples = NULL;
  self->running = NULL;
  return result;
}

/* finish() -> (the engine's profile as JSON, samples, running, how many samples there was no room for), as the structs above
 * lie in memory; or None, if it has ended, or in the child of a fork. From any thread. */
static PyObject *Profile_finish(PyObject *object, PyObject *unused) {
  Profile *self = (Profile *)object;
  wrt_bytes text = {0};
  wrt_failure failure;
  int result = WRT_OK;
  bool ours = false;
  (void)unused;
  Py_BEGIN_ALLOW_THREADS /* a guest may be at a sample */
  if (lock_running(self)) {
    ours = true;
    __atomic_store_n(&self->ended, true, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&self->lock);
    result = self->engine->ops->profile_finish(self->native, &text, &failure);
    self->engine->ops->profile_delete(self->native);
    self->native = NULL;
  }
  Py_END_ALLOW_THREADS
  if (!ours) Py_RETURN_NONE;
  if (result != WRT_OK) {
    State *state = PyType_GetModuleState(Py_TYPE(self));
    PyErr_Format(state->wasm_error, "the engine could not write the profile: %s",
                 failure.message == NULL ? "it gave no reason" : failure.message);
    self->engine->ops->failure_clear(&failure);
    return NULL;
  }
  PyObject *all = contents(self, &text);
  self->engine->ops->bytes_clear(&text);
  return all;
}

static PyObject *Profile_get_ended(PyObject *object, void *unused) {
  (void)unused;
  return PyBool_FromLong(((Profile *)object)->ended);
}

static PyObject *Profile_get_count(PyObject *object, void *unused) {
  (void)unused;
  return PyLong_FromSize_t(((Profile *)object)->count);
}

static int Profile_traverse(PyObject *object, visitproc visit, void *arg) {
  Py_VISIT(Py_TYPE(object));
  Py_VISIT((PyObject *)((Profile *)object)->before);
  return 0;
}

static void Profile_dealloc(PyObject *object) {
  Profile *self = (Profile *)object;
  PyTypeObject *type = Py_TYPE(object);
  PyObject_GC_UnTrack(object);
  if (self->native != NULL) self->engine->ops->profile_delete(self->native);
  PyMem_RawFree(self->samples);
  PyMem_RawFree(self->running);
  Py_XDECREF((PyObject *)self->before);
  Py_XDECREF((PyObject *)self->engine);
  pthread_mutex_destroy(&self->lock);
  type->tp_free(object);
  Py_DECREF(type);
}

static PyMethodDef profile_methods[] = {
    {"finish", Profile_finish, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef profile_getset[] = {
    {"ended", Profile_get_ended, NULL, NULL, NULL},
    {"count", Profile_get_count, NULL, "How many samples there are.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot profile_slots[] = {
    {Py_tp_doc, "Where the guests of a store spend their time; for the adapters."},
    {Py_tp_new, Profile_new},
    {Py_tp_methods, profile_methods},
    {Py_tp_getset, profile_getset},
    {Py_tp_traverse, Profile_traverse},
    {Py_tp_dealloc, Profile_dealloc},
    {0, NULL},
};

PyType_Spec profile_spec = {
    .name = "pywasmrt._shim._fastcall.Profile",
    .basicsize = sizeof(Profile),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = profile_slots,
};
