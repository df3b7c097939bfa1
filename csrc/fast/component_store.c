/* component_store.c: what a store keeps for components, and instances. */
#include "component.h"

ComponentState *component_state(Store *store) {
  if (store->components != NULL) return store->components;
  if (store->engine == NULL || store->engine->component_ops == NULL) {
    PyErr_SetString(PyExc_RuntimeError, "the engine of this store runs no components");
    return NULL;
  }
  ComponentState *state = PyMem_RawCalloc(1, sizeof *state);
  if (state == NULL) {
    PyErr_NoMemory();
    return NULL;
  }
  state->linkers = PyList_New(0);
  if (state->linkers == NULL) {
    PyMem_RawFree(state);
    return NULL;
  }
  store->components = state;
  store->engine->component_ops->store_bind(store->native, store);
  return state;
}

int component_state_traverse(Store *store, visitproc visit, void *arg) {
  ComponentState *state = store->components;
  if (state == NULL) return 0;
  Py_VISIT(state->linkers);
  Py_VISIT(state->streams[0].sink);
  Py_VISIT(state->streams[1].sink);
  return 0;
}

/* Called once the engine's store is gone; the host's objects that guests held are released with the store's other
 * references. */
void component_state_free(Store *store) {
  ComponentState *state = store->components;
  if (state == NULL) return;
  store->components = NULL;
  for (size_t i = 0; i < state->forgotten_count; i++)
    store->engine->component_ops->resource_delete(state->forgotten[i]);
  PyObject *linkers = state->linkers;
  component_streams_free(state);
  PyMem_RawFree(state->forgotten);
  PyMem_RawFree(state->resources);
  PyMem_RawFree(state->scratch);
  PyMem_RawFree(state);
  Py_DECREF(linkers); /* last, as it may run Python code */
}

/* Reads (linker, what keeps the component, address of the component), and has the store keep the linker. */
static Linker *read_arguments(Store *self, PyObject *args, PyObject **keeper, wrt_component **component) {
  PyObject *linker_object, *address;
  if (!PyArg_ParseTuple(args, "O!OO!", self->state->linker_type, &linker_object, keeper, &PyLong_Type, &address)) return NULL;
  *component = PyLong_AsVoidPtr(address);
  Linker *linker = (Linker *)linker_object;
  if (*component == NULL || store_check(self) < 0 || component_state(self) == NULL) return NULL;
  if (linker->waits != self->suspends) {
    PyErr_SetString(PyExc_RuntimeError, "the linker is for another kind of stores");
    return NULL;
  }
  if (PyList_Append(self->components->linkers, linker_object) < 0) return NULL;
  linker->used = true;
  return linker;
}

/* instantiate_component_async(linker, what keeps the component, its address) -> Task, of the handle */
PyObject *store_instantiate_component_async(PyObject *object, PyObject *args) {
  PyObject *keeper;
  wrt_component *component;
  Linker *linker = read_arguments((Store *)object, args, &keeper, &component);
  return linker == NULL ? NULL : task_of_component((Store *)object, linker, keeper, component);
}

/* instantiate_component(linker, what keeps the component, its address) -> handle */
PyObject *store_instantiate_component(PyObject *object, PyObject *args) {
  Store *self = (Store *)object;
  PyObject *keeper;
  wrt_component *component;
  Linker *linker = read_arguments(self, args, &keeper, &component);
  if (linker == NULL || store_enter(self) < 0) return NULL;
  wrt_component_instance out = {{0}};
  wrt_failure failure;
  guest_begin(self);
  int result = self->engine->component_ops->instantiate(self->native, linker->native, component, &out, &failure);
  guest_end(self);
  PyObject *handle = result == WRT_OK ? PyBytes_FromStringAndSize((const char *)&out, sizeof out)
                                      : raise_failure(self, result, &failure);
  if (component_output_waits(self) && component_drain(self) < 0) Py_CLEAR(handle);
  store_leave(self);
  return handle;
}
