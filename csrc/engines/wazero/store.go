package main

// #include <stdlib.h>
// #include "wazero.h"
import "C"

import (
	"context"
	"math"
	"runtime"
	"slices"
	"strconv"
	"time"
	"unsafe"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
)

type storeKey struct{}

// store holds instances. It is also the context of their calls, by which the functions that are called find it.
type store struct {
	c         *C.wrt_store
	engine    *engine
	left      int64 // instances that may still be made; below zero: any number
	elements  int64 // at most, in each table
	instances []*instance
	numbers   []uintptr // of its instances, functions and others, to be released
	functions []uintptr
	others    []uintptr
	callers   []api.Module // of the host functions that run, the innermost last
	closers   []api.Module // in the order they were made
	byExport  map[exportKey]*C.wz_function
	known     map[uint64]*C.wz_function // functions by the reference that guests have
	memories  map[*C.wz_memory]*item
	byGuest   map[api.Module]*instance
	compiled  []wazero.CompiledModule // its own: host modules, and helpers that the engine did not keep; see wzStoreDelete
	shapes    []*shape                // of all modules that were instantiated here, or tried, each once
	// The numbers that the engine has for types of functions; see functionBehind.
	typeNumbers map[string]uint32
}

// The most elements of a table where no limit is set: Go ends the process when it gets no memory.
const mostElements = 10_000_000

type exportKey struct {
	owner api.Module
	name  string
}

func (s *store) Deadline() (deadline time.Time, ok bool) { return }
func (s *store) Done() <-chan struct{}                   { return nil }
func (s *store) Err() error                              { return nil }

func (s *store) Value(key any) any {
	if _, mine := key.(storeKey); mine {
		return s
	}
	return nil
}

var _ context.Context = (*store)(nil)

// instance is an instance of a guest's module, or of a helper of ours that exports what the host made.
type instance struct {
	store  *store
	module *module // of a guest
	guest  api.Module
	// The imported items, with which the index spaces begin, by kind.
	imported map[byte][]*item
	memory   *C.wz_memory     // its own or the imported one
	found    map[export]*item // those of its own externs that were asked for
}

// item is an extern: where an instance exports it, and what it is.
type item struct {
	host      *C.wz_function // a function of the host's, which no instance exports
	owner     api.Module
	field     string
	external  external
	memory    *C.wz_memory
	accessor  api.Module  // see accessingModule
	reference uint64      // of a function, where it was asked for
	record    *C.wz_other // of a table, a global or a tag, where it was asked for
}

type other struct{ item *item }

type function struct {
	store    *store
	item     *item
	callable api.Function
	words    int // of its arguments or its results, whichever take more
	params   int
	narrow   []bool // of each result: whether it fills half of its word
	busy     bool
}

//export wzStoreNew
func wzStoreNew(number C.uintptr_t, c *C.wrt_store, elements, count C.int64_t, out *C.uintptr_t, failure *C.wrt_failure) (result C.int) {
	defer recovered(&result, failure)
	e := engines.get(uintptr(number))
	e.holders.Add(1)
	if elements < 0 {
		elements = mostElements
	}
	elements = min(elements, math.MaxUint32)
	s := &store{
		c: c, engine: e, left: int64(count), elements: int64(elements),
		byExport: map[exportKey]*C.wz_function{}, known: map[uint64]*C.wz_function{},
		memories: map[*C.wz_memory]*item{}, byGuest: map[api.Module]*instance{}, typeNumbers: map[string]uint32{},
	}
	*out = C.uintptr_t(stores.add(s))
	return C.WRT_OK
}

//export wzStoreDelete
func wzStoreDelete(number C.uintptr_t) {
	defer func() { _ = recover() }()
	s := stores.get(uintptr(number))
	stores.remove(uintptr(number))
	defer s.engine.release()
	for i := len(s.closers) - 1; i >= 0; i-- {
		closeQuietly(s, s.closers[i])
	}
	for _, each := range s.compiled {
		closeQuietly(s, each)
	}
	for _, each := range s.instances {
		if each.module != nil {
			each.module.release()
		}
	}
	for _, each := range s.numbers {
		instances.remove(each)
	}
	for _, each := range s.functions {
		functions.remove(each)
	}
	for _, each := range s.others {
		others.remove(each)
	}
}

// closeQuietly closes something of wazero's. A panic there does not keep the rest from being released.
func closeQuietly(s *store, it api.Closer) {
	defer func() { _ = recover() }()
	_ = it.Close(s)
}

// linear is a memory of C's as wazero wants it.
type linear struct{ c *C.wz_memory }

func (l linear) Reallocate(size uint64) []byte {
	if !C.wz_memory_resize(l.c, C.uint64_t(size)) {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(l.c.base)), int(size))
}

func (linear) Free() {} // it belongs to the store

// allocation makes the memory of an instance, and remembers it.
type allocation struct {
	store  *store
	memory *C.wz_memory
}

func (a *allocation) Allocate(_, most uint64) experimental.LinearMemory {
	a.memory = C.wz_memory_make(a.store.c, C.uint64_t(most))
	if a.memory == nil {
		panic(linkError("there is no address space left for a memory"))
	}
	return linear{a.memory}
}

// instantiate makes an instance of a compiled module, whose imports `resolve` finds.
func (s *store) instantiate(compiled wazero.CompiledModule, resolve func(name string) api.Module) (made api.Module, memory *C.wz_memory, err error) {
	defer func() {
		if r := recover(); r != nil {
			if link, ok := r.(linkError); ok {
				err = link
				return
			}
			panic(r)
		}
	}()
	a := &allocation{store: s}
	ctx := experimental.WithMemoryAllocator(s, a)
	if resolve != nil {
		ctx = experimental.WithImportResolver(ctx, resolve)
	}
	config := wazero.NewModuleConfig().WithName("").WithStartFunctions()
	made, err = s.engine.runtime.InstantiateModule(ctx, compiled, config)
	if err == nil {
		s.closers = append(s.closers, made)
	}
	return made, a.memory, err
}

// helper is a small module of ours, compiled, for instances in this store. It is borrowed: from the engine where that keeps it,
// else from this store, which closes it after its instances.
func (s *store) helper(binary []byte) (wazero.CompiledModule, error) {
	compiled, kept, err := s.engine.helper(binary)
	if err == nil && !kept {
		s.compiled = append(s.compiled, compiled)
	}
	return compiled, err
}

// hostModule exports host functions under the numbers of the imports that they serve.
func (s *store) hostModule(items []*item) (api.Module, error) {
	builder := s.engine.runtime.NewHostModuleBuilder("h")
	for i, each := range items {
		if each.host == nil {
			continue
		}
		host := C.uintptr_t(uintptr(unsafe.Pointer(each.host)))
		call := func(_ context.Context, caller api.Module, stack []uint64) {
			s.callers = append(s.callers, caller)
			C.wz_host_call(host, C.size_t(len(s.callers)-1), C.uintptr_t(uintptr(unsafe.Pointer(unsafe.SliceData(stack)))))
			s.callers = s.callers[:len(s.callers)-1]
			runtime.KeepAlive(stack)
			switch s.c.host_result {
			case C.WRT_OK:
			case C.WRT_TRAP:
				panic(errStack)
			case C.WRT_UNSUPPORTED:
				panic(errForked)
			default:
				panic(errHost)
			}
		}
		types := each.external.function
		builder = builder.NewFunctionBuilder().
			WithGoModuleFunction(api.GoModuleFunc(call), types.params, types.results).Export(strconv.Itoa(i))
	}
	compiled, err := builder.Compile(s)
	if err != nil {
		return nil, err
	}
	s.compiled = append(s.compiled, compiled)
	made, _, err := s.instantiate(compiled, nil)
	return made, err
}

// linker gives the instance whose numbered exports are a guest's imports: the host module itself, or a helper that imports
// each item from its owner and exports it by its number.
func (s *store) linker(items []*item) (api.Module, error) {
	hosts := 0
	for _, each := range items {
		if each.host != nil {
			hosts++
		}
	}
	var host api.Module
	if hosts > 0 {
		var err error
		if host, err = s.hostModule(items); err != nil || hosts == len(items) {
			return host, err
		}
	}
	owners := map[api.Module]string{}
	places := map[string]api.Module{"h": host}
	for _, each := range items {
		if each.host != nil {
			continue
		}
		if _, seen := owners[each.owner]; !seen {
			name := strconv.Itoa(len(owners))
			owners[each.owner] = name
			places[name] = each.owner
		}
	}
	helper, err := s.helper(linkingModule(items, owners))
	if err != nil {
		return nil, err
	}
	made, _, err := s.instantiate(helper, func(name string) api.Module { return places[name] })
	return made, err
}

//export wzInstantiate
func wzInstantiate(number, of C.uintptr_t, imports C.uintptr_t, count C.size_t, out *C.uintptr_t, failure *C.wrt_failure) (result C.int) {
	defer recovered(&result, failure)
	s, m := stores.get(uintptr(number)), modules.get(uintptr(of))
	depth := len(s.callers)
	i, err := s.link(m, imports, int(count))
	s.callers = s.callers[:depth]
	if err != nil {
		return fail(failure, C.WRT_LINK, err)
	}
	at := instances.add(i)
	s.numbers = append(s.numbers, at)
	*out = C.uintptr_t(at)
	return C.WRT_OK
}

func (s *store) link(m *module, imports C.uintptr_t, count int) (*instance, error) {
	if count != len(m.shape.imports) {
		return nil, linkError("a wrong number of imports")
	}
	if !slices.Contains(s.shapes, m.shape) {
		s.shapes = append(s.shapes, m.shape)
	}
	if s.left == 0 {
		return nil, linkError("the store has as many instances as its limit allows")
	}
	if err := s.withinLimits(m.shape); err != nil {
		return nil, err
	}
	externs := unsafe.Slice((*C.wrt_extern)(unsafe.Add(unsafe.Pointer(nil), uintptr(imports))), count)
	items := make([]*item, count)
	i := &instance{store: s, module: m, imported: map[byte][]*item{}, found: map[export]*item{}}
	for n := range items {
		items[n] = s.itemOf(&externs[n])
		kind := m.shape.imports[n].kind
		i.imported[kind] = append(i.imported[kind], items[n])
		if items[n].memory != nil {
			i.memory = items[n].memory
		}
	}
	if err := s.elementsFit(m.shape, items); err != nil {
		return nil, err
	}
	var poll uint64
	var err error
	if m.shape.poll != "" {
		if poll, err = s.engine.pollReference(); err != nil {
			return nil, err
		}
	}
	var linker api.Module
	if count > 0 {
		if linker, err = s.linker(items); err != nil {
			return nil, err
		}
	}
	guest, memory, err := s.instantiate(m.compiled, func(string) api.Module { return linker })
	if err != nil {
		return nil, err
	}
	// The instance stays, even if its start function fails: it may have put its functions into tables of others.
	i.guest = guest
	if memory != nil {
		i.memory = adopt(memory, &m.shape.memories[len(m.shape.memories)-1])
	}
	s.instances = append(s.instances, i)
	s.byGuest[guest] = i
	m.holders.Add(1)
	if s.left > 0 {
		s.left--
	}
	if m.shape.poll != "" {
		guest.ExportedGlobal(m.shape.poll).(api.MutableGlobal).Set(poll)
	}
	if m.shape.limit != "" {
		guest.ExportedGlobal(m.shape.limit).(api.MutableGlobal).Set(uint64(s.elements))
	}
	if m.shape.start != "" {
		return i, guest.ExportedFunction(m.shape.start).CallWithStack(s, nil)
	}
	return i, nil
}
