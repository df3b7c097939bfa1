/* component_wasi.c: what a component's guests write to their streams, on its way to Python.
 *
 * Wasmtime writes from a thread of its own, while the guest waits for it; the guest's thread may hold the GIL then. So that
 * thread only puts the bytes aside, and the guest's thread hands them to Python: at the end of a call, before a host function,
 * and at polls.
 */
#include "component.h"

#include <errno.h>

/* Bytes that may wait for Python; a guest that writes more in one go is told that the stream is full. */
enum { MOST_WAITING = 64 << 20 };

static ptrdiff_t stream_write(void *env, const unsigned char *data, size_t size) {
  ComponentStream *stream = env;
  ptrdiff_t result = (ptrdiff_t)size;
  pthread_mutex_lock(&stream->lock);
  if (size > MOST_WAITING - stream->size) {
    result = -ENOBUFS;
  } else if (stream->capacity - stream->size < size) {
    size_t capacity = (stream->size + size) * 2 + 256;
    char *larger = realloc(stream->data, capacity);
    if (larger == NULL) {
      result = -ENOMEM;
    } else {
      stream->data = larger;
      stream->capacity = capacity;
    }
  }
  if (result >= 0 && size > 0) {
    memcpy(stream->data + stream->size, data, size);
    stream->size += size;
    __atomic_store_n(&stream->waits, true, __ATOMIC_RELAXED);
  }
  pthread_mutex_unlock(&stream->lock);
  return result;
}

bool component_output_waits(Store *store) {
  ComponentState *state = store->components;
  return state != NULL && (__atomic_load_n(&state->streams[0].waits, __ATOMIC_RELAXED) ||
                           __atomic_load_n(&state->streams[1].waits, __ATOMIC_RELAXED));
}

/* Hands one stream's bytes over: 0, or -1 with an exception set. */
static int drain_stream(ComponentStream *stream) {
  pthread_mutex_lock(&stream->lock);
  char *data = stream->data;
  size_t size = stream->size;
  stream->data = NULL;
  stream->size = stream->capacity = 0;
  __atomic_store_n(&stream->waits, false, __ATOMIC_RELAXED);
  pthread_mutex_unlock(&stream->lock);
  PyObject *done = size == 0 || stream->sink == NULL ? Py_NewRef(Py_None)
                                                     : PyObject_CallFunction(stream->sink, "y#", data, (Py_ssize_t)size);
  free(data);
  Py_XDECREF(done);
  return done == NULL ? -1 : 0;
}

int component_drain(Store *store) {
  ComponentState *state = store->components;
  if (!component_output_waits(store) || state->draining) return 0;
  PyObject *type, *error, *traceback;
  PyErr_Fetch(&type, &error, &traceback);
  state->draining = true; /* the callable may come here again */
  int result = drain_stream(&state->streams[0]);
  if (result < 0 && error != NULL) PyErr_WriteUnraisable(state->streams[0].sink);
  if (drain_stream(&state->streams[1]) < 0) {
    if (error != NULL || result < 0) PyErr_WriteUnraisable(state->streams[1].sink);
    else result = -1;
  }
  state->draining = false;
  if (error == NULL) return result;
  PyErr_Restore(type, error, traceback); /* the exception that ended the call comes first */
  return 0;
}

void component_streams_free(ComponentState *state) {
  for (int i = 0; i < 2; i++) {
    ComponentStream *stream = &state->streams[i];
    free(stream->data);
    if (stream->sink != NULL) pthread_mutex_destroy(&stream->lock);
    Py_XDECREF(stream->sink);
  }
}

/* component_wasi(address of a wrt_component_wasi, callable that takes stdout or None, callable that takes stderr or None) */
PyObject *store_component_wasi(PyObject *object, PyObject *args) {
  Store *self = (Store *)object;
  PyObject *address, *sinks[2];
  if (!PyArg_ParseTuple(args, "O!OO", &PyLong_Type, &address, &sinks[0], &sinks[1])) return NULL;
  wrt_component_wasi *wasi = PyLong_AsVoidPtr(address);
  wrt_failure failure;
  ComponentState *state = wasi == NULL || store_check(self) < 0 ? NULL : component_state(self);
  if (state == NULL) return NULL;
  for (int i = 0; i < 2; i++) {
    if (sinks[i] == Py_None || state->streams[i].sink != NULL) continue;
    state->streams[i].sink = Py_NewRef(sinks[i]);
    pthread_mutex_init(&state->streams[i].lock, NULL);
  }
  state->has_streams = state->streams[0].sink != NULL || state->streams[1].sink != NULL;
  if (state->streams[0].sink != NULL) wasi->out = stream_write, wasi->out_env = &state->streams[0];
  if (state->streams[1].sink != NULL) wasi->err = stream_write, wasi->err_env = &state->streams[1];
  int result = self->engine->component_ops->store_wasi(self->native, wasi, &failure);
  return result == WRT_OK ? Py_NewRef(Py_None) : raise_failure(self, result, &failure);
}
