/* linked.c: what serves a module's imports, decided once (Linked), and the instances made of it. */
#include "fastcall.h"

#include <string.h>

/* One import of a module. */
typedef struct LinkedImport {
  HostImport host;   /* its label is NULL where the import is an extern */
  wrt_extern handle; /* of the extern */
  PyObject *held;    /* owned: the object that the handle was read from; it may keep the extern's own store */
} LinkedImport;

/* ---- the callables of one instance ---- */

static HostBlock *block_new(Store *store, Linked *linked, PyObject *callables, PyObject *context) {
  size_t count = linked->host_count;
  HostBlock *block = PyMem_Malloc(sizeof *block + count * (sizeof *block->each + sizeof *block->envs));
  if (block == NULL) return (HostBlock *)PyErr_NoMemory();
  block->linked = (Linked *)Py_NewRef((PyObject *)linked);
  block->context = Py_NewRef(context);
  block->originals = Py_NewRef(callables);
  block->replaced = NULL;
  block->count = count;
  block->envs = (void **)&block->each[count];
  for (size_t i = 0, at = 0; i < linked->count; i++) {
    if (linked->imports[i].host.label == NULL) continue;
    block->each[at] = (HostCallable){.import = &linked->imports[i].host,
                                     .store = store,
                                     .callable = Py_NewRef(PyTuple_GET_ITEM(callables, (Py_ssize_t)at)),
                                     .context = context};
    block->envs[at] = &block->each[at];
    at++;
  }
  return block;
}

size_t linked_import_of(const Linked *linked, const HostImport *host) {
  return (size_t)((const LinkedImport *)((const char *)host - offsetof(LinkedImport, host)) - linked->imports);
}

int block_traverse(HostBlock *block, visitproc visit, void *arg) {
  Py_VISIT(block->context);
  Py_VISIT(block->originals);
  Py_VISIT(block->replaced);
  for (size_t i = 0; i < block->count; i++) Py_VISIT(block->each[i].callable);
  return 0;
}

void block_free(HostBlock *block) {
  for (size_t i = 0; i < block->count; i++) Py_DECREF(block->each[i].callable);
  Py_XDECREF(block->replaced);
  Py_DECREF(block->originals);
  Py_DECREF(block->context);
  Py_DECREF(block->linked);
  PyMem_Free(block);
}

/* ---- instances ---- */

/* The handles of all imports, in the module's order: functions are made for the block's callables. */
static int make_imports(Store *store, Linked *linked, HostBlock *block, wrt_extern *out, wrt_failure *failure) {
  for (size_t i = 0, at = 0; i < linked->count; i++) {
    LinkedImport *import = &linked->imports[i];
    if (import->host.label == NULL) {
      out[i] = import->handle;
      continue;
    }
    HostImport *host = &import->host;
    void *env = block->envs[at++];
    int result = host->has_objects
                     ? store->ops->function_new_as(store->native, linked->module, i, host->types, host->param_count,
                                                   host->result_count, call_python, env, &out[i], failure)
                 : store->suspends
                     ? store->ops->tasks->function_new(store->native, host->types, host->param_count, host->result_count,
                                                       call_waiting, env, &out[i], failure)
                     : store->ops->function_new(store->native, host->types, host->param_count, host->result_count,
                                                call_python, env, &out[i], failure);
    if (result != WRT_OK) return result;
  }
  return WRT_OK;
}

/* Instantiates by the engine's own form where there is one, and otherwise from handles. A wrt_result, or -1 without memory. */
static int instantiate(Store *store, Linked *linked, HostBlock *block, wrt_instance *out, wrt_failure *failure) {
  if (linked->native != NULL && !store->has_linked) {
    store->has_linked = true;
    guest_begin(store);
    int result = store->ops->linked_instantiate(store->native, linked->native, block->envs, out, failure);
    guest_end(store);
    return result;
  }
  wrt_extern few[8], *imports = few;
  if (linked->count > 8 && (imports = PyMem_RawMalloc(linked->count * sizeof *imports)) == NULL) return -1;
  int result = make_imports(store, linked, block, imports, failure);
  if (result == WRT_OK) {
    guest_begin(store);
    result = store->ops->instantiate(store->native, linked->module, imports, linked->count, out, failure);
    guest_end(store);
  }
  if (imports != few) PyMem_RawFree(imports);
  return result;
}

/* The arguments (Linked, callables of its host functions, context) of both instantiations; false with an exception set. */
static bool read_arguments(Store *store, PyObject *args, Linked **linked, PyObject **callables, PyObject **context) {
  PyObject *given;
  if (!PyArg_ParseTuple(args, "O!O!O", store->state->linked_type, &given, &PyTuple_Type, callables, context)) return false;
  *linked = (Linked *)given;
  if ((size_t)PyTuple_GET_SIZE(*callables) == (*linked)->host_count && (*linked)->engine == store->engine) return true;
  if (store->closed) return store_check(store) == 0; /* a store that another thread has closed has no engine any more */
  PyErr_SetString(PyExc_TypeError, "this was linked for other callables or another engine");
  return false;
}

/* The callables of a new instance, which the store releases: borrowed, or NULL with an exception set. */
static HostBlock *add_block(Store *store, Linked *linked, PyObject *callables, PyObject *context) {
  HostBlock *block = block_new(store, linked, callables, context);
  if (block != NULL) {
    block->next = store->blocks;
    store->blocks = block;
    if (UNLIKELY(store->observer != NULL) && block_observe(store, block, store->observer) < 0) return NULL;
  }
  return block;
}

/* instantiate(Linked, callables of its host functions, context) -> instance handle */
PyObject *store_instantiate(PyObject *object, PyObject *args) {
  Store *self = (Store *)object;
  Linked *linked;
  PyObject *handle = NULL, *callables, *context;
  if (!read_arguments(self, args, &linked, &callables, &context)) return NULL;
  if (self->closing != NULL) store_close_instances(self);
  if (store_enter(self) < 0) return NULL;
  HostBlock *block = add_block(self, linked, callables, context);
  if (block != NULL) {
    wrt_instance out;
    wrt_failure failure;
    int result = instantiate(self, linked, block, &out, &failure);
    if (result == WRT_OK)
      handle = PyBytes_FromStringAndSize((const char *)&out, sizeof out);
    else if (result < 0)
      PyErr_NoMemory();
    else
      raise_failure(self, result, &failure);
  }
  store_leave(self);
  return handle;
}

/* instantiate_async(Linked, callables of its host functions, context) -> Task, of the instance's handle */
PyObject *store_instantiate_async(PyObject *object, PyObject *args) {
  Store *self = (Store *)object;
  Linked *linked;
  PyObject *callables, *context;
  if (!read_arguments(self, args, &linked, &callables, &context) || store_enter(self) < 0) return NULL;
  wrt_extern *imports = NULL;
  HostBlock *block = add_block(self, linked, callables, context);
  if (block != NULL && (imports = PyMem_Calloc(linked->count + 1, sizeof *imports)) == NULL) PyErr_NoMemory();
  if (imports != NULL) {
    wrt_failure failure;
    int result = make_imports(self, linked, block, imports, &failure);
    if (result != WRT_OK) {
      PyMem_Free(imports);
      imports = NULL;
      raise_failure(self, result, &failure);
    }
  }
  store_leave(self);
  return imports == NULL ? NULL : task_of_instantiation(self, linked, imports);
}

/* ---- Linked ---- */

/* Reads (module, name, label, FunctionType, params and results, how many are params, caller class or None, whether it is
 * awaited) into both structs. */
static int read_host(PyObject *item, HostImport *host, wrt_import *import) {
  PyObject *module, *name, *label, *type, *codes, *caller_class;
  Py_ssize_t param_count, module_size, name_size;
  int awaits;
  if (!PyArg_ParseTuple(item, "UUUOSnOp", &module, &name, &label, &type, &codes, &param_count, &caller_class, &awaits))
    return -1;
  import->module = PyUnicode_AsUTF8AndSize(module, &module_size);
  import->name = import->module == NULL ? NULL : PyUnicode_AsUTF8AndSize(name, &name_size);
  if (import->name == NULL) return -1;
  if (param_count < 0 || param_count > PyBytes_GET_SIZE(codes)) {
    PyErr_SetString(PyExc_ValueError, "there are fewer types than parameters");
    return -1;
  }
  host->label = Py_NewRef(label);
  host->type = Py_NewRef(type);
  host->codes = Py_NewRef(codes);
  host->caller_class = caller_class == Py_None ? NULL : (PyTypeObject *)Py_NewRef(caller_class);
  host->awaits = awaits != 0;
  host->types = (const uint8_t *)PyBytes_AS_STRING(codes);
  host->param_count = (size_t)param_count;
  host->result_count = (size_t)(PyBytes_GET_SIZE(codes) - param_count);
  for (size_t i = 0; i < host->param_count + host->result_count; i++) {
    host->has_refs |= host->types[i] >= WRT_FUNCREF;
    host->has_objects |= host->types[i] >= WRT_REF;
  }
  import->module_size = (size_t)module_size;
  import->name_size = (size_t)name_size;
  import->types = host->types;
  import->param_count = host->param_count;
  import->result_count = host->result_count;
  return 0;
}

/* Asks the engine for the types of an import that passes references of the proposal gc, as Python's ValueType.REF is less
 * specific. 0, or -1 with an exception set. */
static int read_precisely(Linked *self, size_t index, HostImport *host, PyObject *fail) {
  const wrt_engine_ops *ops = self->engine->ops;
  wrt_failure failure;
  size_t count = host->param_count + host->result_count;
  if (ops->import_types == NULL) {
    PyErr_Format(PyExc_TypeError, "%U passes references that Python functions cannot take or return on this engine",
                 host->label);
    return -1;
  }
  PyObject *codes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)count);
  if (codes == NULL) return -1;
  int result = ops->import_types(self->module, index, (uint8_t *)PyBytes_AS_STRING(codes), count, &failure);
  if (result != WRT_OK) {
    Py_DECREF(codes);
    raise_told(ops, fail, result, &failure, NULL);
    return -1;
  }
  Py_SETREF(host->codes, codes);
  host->types = (const uint8_t *)PyBytes_AS_STRING(codes);
  self->plain = false;
  return 0;
}

/* Reads the imports: handles of externs, or the tuples that read_host reads. `described` receives the latter for the engine. */
static int read_imports(Linked *self, PyObject *imports, wrt_import *described, PyObject *fail) {
  for (size_t i = 0; i < self->count; i++) {
    PyObject *item = PyTuple_GET_ITEM(imports, (Py_ssize_t)i);
    LinkedImport *import = &self->imports[i];
    if (PyTuple_Check(item)) {
      if (read_host(item, &import->host, &described[i]) < 0) return -1;
      if (import->host.has_objects && read_precisely(self, i, &import->host, fail) < 0) return -1;
      self->host_count++;
    } else {
      if (!read_handle(item, &import->handle, sizeof import->handle)) return -1;
      import->held = Py_NewRef(item);
    }
  }
  return 0;
}

/* Linked(engine, fail, keeper of the module, its address, imports, own form): with `own form` the engine links the module once;
 * all imports are host functions then, no two by the same names. */
static PyObject *Linked_new(PyTypeObject *type, PyObject *args, PyObject *keywords) {
  PyObject *engine, *fail, *keeper, *address, *imports;
  int own_form;
  (void)keywords;
  State *state = PyType_GetModuleState(type);
  if (state == NULL || !PyArg_ParseTuple(args, "O!OOO!O!p", state->engine_type, &engine, &fail, &keeper, &PyLong_Type,
                                         &address, &PyTuple_Type, &imports, &own_form))
    return NULL;
  wrt_module *module = PyLong_AsVoidPtr(address);
  if (module == NULL) return NULL;
  Linked *self = (Linked *)type->tp_alloc(type, 0);
  if (self == NULL) return NULL;
  size_t count = (size_t)PyTuple_GET_SIZE(imports);
  self->engine = (Engine *)Py_NewRef(engine);
  self->keeper = Py_NewRef(keeper);
  self->module = module;
  self->plain = true;
  self->imports = PyMem_Calloc(count + 1, sizeof *self->imports);
  wrt_import *described = PyMem_Calloc(count + 1, sizeof *described);
  bool whole = false;
  if (described == NULL || self->imports == NULL) {
    PyErr_NoMemory();
  } else {
    self->count = count;
    whole = read_imports(self, imports, described, fail) == 0;
  }
  const wrt_engine_ops *ops = self->engine->ops;
  if (whole && own_form && self->plain && self->host_count == count && ops->link != NULL) {
    wrt_failure failure;
    int result = ops->link(self->engine->native, module, described, count, call_python, &self->native, &failure);
    if (result != WRT_OK) {
      raise_told(ops, fail, result, &failure, NULL);
      whole = false;
    }
  }
  PyMem_Free(described);
  if (!whole) Py_CLEAR(self);
  return (PyObject *)self;
}

static int Linked_traverse(PyObject *object, visitproc visit, void *arg) {
  Linked *self = (Linked *)object;
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(self->keeper);
  for (size_t i = 0; i < self->count; i++) Py_VISIT(self->imports[i].held); /* a memory of another store */
  return 0;
}

static void Linked_dealloc(PyObject *object) {
  Linked *self = (Linked *)object;
  PyTypeObject *type = Py_TYPE(self);
  PyObject_GC_UnTrack(object);
  if (self->native != NULL) self->engine->ops->linked_delete(self->native);
  for (size_t i = 0; i < self->count; i++) {
    LinkedImport *import = &self->imports[i];
    Py_XDECREF(import->host.label);
    Py_XDECREF(import->host.type);
    Py_XDECREF(import->host.codes);
    Py_XDECREF(import->host.caller_class);
    Py_XDECREF(import->held);
  }
  PyMem_Free(self->imports);
  Py_XDECREF(self->keeper);
  Py_XDECREF(self->engine);
  type->tp_free(self);
  Py_DECREF(type);
}

static PyType_Slot linked_slots[] = {
    {Py_tp_doc, "What serves a module's imports, decided once; for the adapters."},
    {Py_tp_new, Linked_new},
    {Py_tp_traverse, Linked_traverse},
    {Py_tp_dealloc, Linked_dealloc},
    {0, NULL},
};

PyType_Spec linked_spec = {
    .name = "pywasmrt._shim._fastcall.Linked",
    .basicsize = sizeof(Linked),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = linked_slots,
};
