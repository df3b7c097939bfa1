/* component_resource.c: handles to resources: those of guests that Python holds, and those of the host that guests hold.
 *
 * A guest's resource is an object of a class that Python makes on top of Resource. It owns a handle, which it gives back by
 * _drop, or gives away as an argument. An object that dies while it owns a handle leaves it to the store, which drops it at its
 * next call: the destructor is guest code, and must not run wherever an object happens to die.
 *
 * A resource of the host's is any object. The guest has a number for it, under which the store keeps a reference until the
 * guest drops its handle; that may happen without the GIL, so the reference is released in the way of externrefs.
 */
#include "component.h"
#include "values.h"

/* ---- the guests' ---- */

PyObject *resource_object(Store *store, PyTypeObject *type, wrt_resource *native, bool borrowed) {
  Resource *self = (Resource *)type->tp_alloc(type, 0);
  if (self == NULL) {
    store->engine->component_ops->resource_delete(native);
    return NULL;
  }
  self->store = (Store *)Py_NewRef(store);
  self->ops = store->engine->component_ops;
  self->native = native;
  self->borrowed = borrowed;
  return (PyObject *)self;
}

/* Notes a handle to be dropped by the next call; without memory for that it stays until the store is closed. */
static void forget(Resource *resource) {
  Store *store = resource->store;
  wrt_resource *native = resource->native;
  ComponentState *state = store->components;
  resource->native = NULL;
  if (store->native == NULL || state == NULL) {
    resource->ops->resource_delete(native);
    return;
  }
  if (state->forgotten_count == state->forgotten_capacity) {
    size_t capacity = state->forgotten_capacity * 2 + 8;
    wrt_resource **larger = PyMem_RawRealloc(state->forgotten, capacity * sizeof *larger);
    if (larger == NULL) {
      resource->ops->resource_delete(native);
      return;
    }
    state->forgotten = larger;
    state->forgotten_capacity = capacity;
  }
  state->forgotten[state->forgotten_count++] = native;
}

/* Ends a handle inside the store; WRT_OK or the failure. */
static int drop_handle(Store *store, wrt_resource *native, wrt_failure *failure) {
  const wrt_component_ops *ops = store->engine->component_ops;
  guest_begin(store);
  int result = ops->resource_drop(store->native, native, failure);
  guest_end(store);
  ops->resource_delete(native);
  return result;
}

void drop_forgotten(Store *store) {
  ComponentState *state = store->components;
  PyObject *type, *error, *traceback;
  PyErr_Fetch(&type, &error, &traceback);
  while (state->forgotten_count != 0) {
    wrt_failure failure;
    wrt_resource *native = state->forgotten[--state->forgotten_count];
    int result = drop_handle(store, native, &failure);
    if (result != WRT_OK) { /* the destructor trapped, or was stopped; only the unraisable hook can be told */
      raise_failure(store, result, &failure);
      PyErr_WriteUnraisable((PyObject *)store);
    }
  }
  PyErr_Restore(type, error, traceback);
}

/* _drop(): ends the resource by its destructor. Does nothing where it was given away or dropped. */
static PyObject *Resource_drop(PyObject *object, PyObject *unused) {
  (void)unused;
  Resource *self = (Resource *)object;
  Store *store = self->store;
  if (self->native == NULL || store->closed) Py_RETURN_NONE;
  if (self->borrowed || self->giving) {
    PyErr_SetString(PyExc_ValueError, "the resource is only lent, and so is not to be dropped here");
    return NULL;
  }
  if (store->depth != 0 && store->owner == this_thread()) { /* in a host function: its guest must not be entered */
    forget(self);
    Py_RETURN_NONE;
  }
  if (store_enter(store) < 0) return NULL;
  wrt_resource *native = self->native;
  self->native = NULL;
  wrt_failure failure;
  int result = drop_handle(store, native, &failure);
  PyObject *done = result == WRT_OK ? Py_NewRef(Py_None) : raise_failure(store, result, &failure);
  store_leave(store);
  return done;
}

static PyObject *Resource_get_closed(PyObject *object, void *unused) {
  (void)unused;
  Resource *self = (Resource *)object;
  return PyBool_FromLong(self->native == NULL || self->store->closed);
}

static PyObject *Resource_get_borrowed(PyObject *object, void *unused) {
  (void)unused;
  return PyBool_FromLong(((Resource *)object)->borrowed);
}

/* Whether it belongs to this store, for messages. */
static PyObject *Resource_in_store(PyObject *object, PyObject *store) {
  return PyBool_FromLong((PyObject *)((Resource *)object)->store == store);
}

static int Resource_traverse(PyObject *object, visitproc visit, void *arg) {
  Py_VISIT(Py_TYPE(object));
  Py_VISIT(((Resource *)object)->store);
  return 0;
}

static void Resource_dealloc(PyObject *object) {
  Resource *self = (Resource *)object;
  PyTypeObject *type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  if (self->weakrefs != NULL) PyObject_ClearWeakRefs(object);
  if (self->native != NULL) forget(self);
  Py_XDECREF(self->store);
  type->tp_free(self);
  Py_DECREF(type);
}

static PyMethodDef resource_methods[] = {
    {"_drop", Resource_drop, METH_NOARGS, NULL},
    {"_in_store", Resource_in_store, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef resource_getset[] = {
    {"closed", Resource_get_closed, NULL, "Whether the resource was dropped or given away, or its store closed.", NULL},
    {"_borrowed", Resource_get_borrowed, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef resource_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Resource, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot resource_slots[] = {
    {Py_tp_doc, "A handle to a resource of a component; the base of the classes that stand for its resources."},
    {Py_tp_methods, resource_methods},
    {Py_tp_getset, resource_getset},
    {Py_tp_members, resource_members},
    {Py_tp_traverse, Resource_traverse},
    {Py_tp_dealloc, Resource_dealloc},
    {0, NULL},
};

PyType_Spec resource_spec = {
    .name = "pywasmrt._shim._fastcall.Resource",
    .basicsize = sizeof(Resource),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = resource_slots,
};

/* ---- the host's ---- */

int host_resource_keep(Store *store, PyObject *object, uint32_t *rep) {
  ComponentState *state = store->components;
  uint32_t at = state->free;
  while (at < state->capacity && state->resources[at] != NULL) at++;
  if (at == state->capacity) {
    uint32_t capacity = state->capacity * 2 + 8;
    HostRef **larger =
        state->capacity > UINT32_MAX / 4 ? NULL : PyMem_RawRealloc(state->resources, capacity * sizeof *larger);
    if (larger == NULL) {
      PyErr_NoMemory();
      return -1;
    }
    memset(larger + state->capacity, 0, (capacity - state->capacity) * sizeof *larger);
    state->resources = larger;
    state->capacity = capacity;
  }
  HostRef *ref = host_ref_new(store, object);
  if (ref == NULL) return -1;
  state->resources[at] = ref;
  state->free = at + 1;
  *rep = at;
  return 0;
}

PyObject *host_resource_get(Store *store, uint32_t rep) {
  ComponentState *state = store->components;
  if (rep < state->capacity && state->resources[rep] != NULL) return state->resources[rep]->object;
  PyErr_SetString(PyExc_RuntimeError, "the guest has a resource of the host's that it was never given");
  return NULL;
}

void host_resource_drop(void *env, void *host, uint32_t rep) {
  (void)env;
  ComponentState *state = ((Store *)host)->components;
  if (state == NULL || rep >= state->capacity || state->resources[rep] == NULL) return;
  host_ref_finalize(state->resources[rep]);
  state->resources[rep] = NULL;
  if (rep < state->free) state->free = rep;
}
