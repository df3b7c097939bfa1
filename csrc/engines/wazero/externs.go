package main

// #include <stdlib.h>
// #include "wazero.h"
import "C"

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/tetratelabs/wazero/api"
)

const pageSize = 65536

// The types of wrt.h by those of the binary format.
var typeCodes = map[byte]C.wrt_type{
	typeI32: C.WRT_I32, typeI64: C.WRT_I64, typeF32: C.WRT_F32, typeF64: C.WRT_F64,
	typeV128: C.WRT_V128, typeFuncref: C.WRT_FUNCREF, typeExternref: C.WRT_EXTERNREF,
}

var binaryTypes = map[C.wrt_type]byte{}

func init() {
	for binary, code := range typeCodes {
		binaryTypes[code] = binary
	}
}

func typeCode(binary byte) C.wrt_type {
	if code, ok := typeCodes[binary]; ok {
		return code
	}
	return C.WRT_REF
}

func codes(t *functionType) []byte {
	found := make([]byte, 0, len(t.params)+len(t.results)+1)
	for _, each := range [][]byte{t.params, t.results} {
		for _, one := range each {
			found = append(found, byte(typeCode(one)))
		}
	}
	return found
}

func words(types []byte) int {
	n := len(types)
	for _, each := range types {
		if each == typeV128 {
			n++
		}
	}
	return n
}

// adopt notes a memory's type, as far as wazero has decided it.
func adopt(memory *C.wz_memory, e *external) *C.wz_memory {
	memory.shared = C.bool(e.limits.shared)
	memory.has_maximum = C.bool(e.limits.hasMaximum)
	memory.minimum = C.uint64_t(e.limits.minimum)
	memory.maximum = C.uint64_t(e.limits.maximum)
	return memory
}

func (s *store) withinLimits(found *shape) error {
	for _, each := range found.memories {
		if uint64(each.limits.minimum)*pageSize > uint64(s.c.memory_limit) && !imported(found, kindMemory) {
			return linkError(fmt.Sprintf("a memory of %d pages exceeds the limit of %d bytes", each.limits.minimum, uint64(s.c.memory_limit)))
		}
	}
	first := 0
	for _, each := range found.imports {
		if each.kind == kindTable {
			first++
		}
	}
	for _, each := range found.tables[first:] {
		if each.limits.minimum > uint64(s.elements) {
			return linkError(fmt.Sprintf("a table of %d elements exceeds the limit of %d", each.limits.minimum, s.elements))
		}
	}
	return nil
}

// elementsFit refuses a segment that does not fit its table, which wazero would leave out silently.
func (s *store) elementsFit(found *shape, items []*item) error {
	var tables []*item
	for _, each := range items {
		if each.external.kind == kindTable {
			tables = append(tables, each)
		}
	}
	for _, each := range found.active {
		size := []uint64{0}
		switch {
		case int(each.table) >= len(tables):
			size[0] = found.tables[each.table].limits.minimum
		default:
			if err := s.callAccessor(tables[each.table], "size", size); err != nil {
				return err
			}
			size[0] &= 0xffffffff
		}
		if each.end > size[0] {
			return errors.New(trapBegins + "invalid table access")
		}
	}
	return nil
}

func imported(found *shape, kind byte) bool {
	for _, each := range found.imports {
		if each.kind == kind {
			return true
		}
	}
	return false
}

// itemOf is the item that an extern of this store stands for.
func (s *store) itemOf(e *C.wrt_extern) *item {
	address := unsafe.Add(unsafe.Pointer(nil), uintptr(e.opaque[1]))
	switch e.opaque[0] {
	case C.WZ_FUNCTION:
		c := (*C.wz_function)(address)
		if c.host != nil {
			return &item{host: c, external: external{kind: kindFunction, function: hostType(c)}}
		}
		return functions.get(uintptr(c.number)).item
	case C.WZ_MEMORY:
		if known := s.memories[(*C.wz_memory)(address)]; known != nil {
			return known
		}
		// It belongs to another store, and would end with that.
		panic(linkError("a shared memory cannot pass from one store to another on wazero"))
	}
	return others.get(uintptr((*C.wz_other)(address).number)).item
}

func hostType(c *C.wz_function) *functionType {
	all := unsafe.Slice((*byte)(unsafe.Pointer(C.wz_types(c))), int(c.params+c.results))
	t := &functionType{}
	for n, each := range all {
		if n < int(c.params) {
			t.params = append(t.params, binaryTypes[C.wrt_type(each)])
		} else {
			t.results = append(t.results, binaryTypes[C.wrt_type(each)])
		}
	}
	return t
}

// put makes an extern of an item. It returns whether that worked.
func (s *store) put(i *item, out *C.wrt_extern) bool {
	switch i.external.kind {
	case kindFunction:
		c := i.host
		if c == nil {
			c = s.functionOf(i)
		}
		if c == nil {
			return false
		}
		out.opaque = [4]C.uint64_t{C.WZ_FUNCTION, C.uint64_t(uintptr(unsafe.Pointer(c)))}
		return true
	case kindMemory:
		if i.memory == nil {
			return false
		}
		s.memories[i.memory] = i
		out.opaque = [4]C.uint64_t{C.WZ_MEMORY, C.uint64_t(uintptr(unsafe.Pointer(i.memory)))}
		return true
	}
	c := i.record
	if c == nil {
		number := others.add(&other{i})
		s.others = append(s.others, number)
		if c = C.wz_other_make(s.c, C.uintptr_t(number)); c == nil {
			return false
		}
		i.record = c
	}
	tag := map[byte]C.uint64_t{kindTable: C.WZ_TABLE, kindGlobal: C.WZ_GLOBAL, kindTag: C.WZ_TAG}[i.external.kind]
	out.opaque = [4]C.uint64_t{tag, C.uint64_t(uintptr(unsafe.Pointer(c)))}
	return true
}

// give hands out what the host has made. It returns a wrt_result.
func (s *store) give(i *item, out *C.wrt_extern, failure *C.wrt_failure) C.int {
	if !s.put(i, out) {
		return fail(failure, C.WRT_ERROR, errors.New("out of memory"))
	}
	return C.WRT_OK
}

// functionOf is the record of a function that an instance exports, made once.
func (s *store) functionOf(i *item) *C.wz_function {
	key := exportKey{i.owner, i.field}
	if known := s.byExport[key]; known != nil {
		return known
	}
	callable := i.owner.ExportedFunction(i.field)
	if callable == nil {
		return nil
	}
	t := i.external.function
	f := &function{
		store: s, item: i, callable: callable, words: max(words(t.params), words(t.results)),
		params: len(t.params), narrow: make([]bool, len(t.results)),
	}
	for n, each := range t.results {
		f.narrow[n] = each == typeI32 || each == typeF32
	}
	number := functions.add(f)
	s.functions = append(s.functions, number)
	all := codes(t)
	c := C.wz_function_make(s.c, C.uintptr_t(number), (*C.uint8_t)(unsafe.Pointer(unsafe.SliceData(all))),
		C.uint32_t(len(t.params)), C.uint32_t(len(t.results)))
	if c != nil {
		c.is_short = C.bool(i.external.short)
		s.byExport[key] = c
	}
	return c
}

// find is the item that an instance exports under a name, or nil.
func (i *instance) find(name string) *item {
	e, there := i.module.shape.exports[name]
	if !there {
		return nil
	}
	from := i.imported[e.kind]
	if int(e.index) < len(from) {
		return from[e.index]
	}
	if known := i.found[e]; known != nil {
		return known
	}
	found := &item{owner: i.guest, field: name, external: (*i.module.shape.space(e.kind))[e.index]}
	if e.kind == kindMemory {
		found.memory = i.memory
		if known := i.store.memories[i.memory]; known != nil {
			return known
		}
	}
	i.found[e] = found
	return found
}

//export wzExport
func wzExport(number, of C.uintptr_t, name C.uintptr_t, size C.size_t, out *C.wrt_extern) (found C.bool) {
	defer func() {
		if recover() != nil {
			found = false
		}
	}()
	s, i := stores.get(uintptr(number)), instances.get(uintptr(of))
	it := i.find(string(bytesAt(name, size)))
	return C.bool(it != nil && s.put(it, out))
}

//export wzCallerExport
func wzCallerExport(number C.uintptr_t, level C.size_t, name C.uintptr_t, size C.size_t, out *C.wrt_extern) (found C.bool) {
	defer func() {
		if recover() != nil {
			found = false
		}
	}()
	s := stores.get(uintptr(number))
	if uint64(level) >= uint64(len(s.callers)) {
		return false
	}
	caller := s.callers[level]
	i := s.byGuest[caller]
	if i == nil {
		return false
	}
	it := i.find(string(bytesAt(name, size)))
	return C.bool(it != nil && s.put(it, out))
}

//export wzExternType
func wzExternType(_, number C.uintptr_t, out *C.wrt_extern_type, failure *C.wrt_failure) (result C.int) {
	defer recovered(&result, failure)
	i := others.get(uintptr(number)).item
	e := &i.external
	kinds := map[byte]C.wrt_kind{kindTable: C.WRT_TABLE, kindGlobal: C.WRT_GLOBAL, kindTag: C.WRT_TAG}
	*out = C.wrt_extern_type{
		kind: kinds[e.kind], content: typeCode(e.content), mutable_: C.bool(e.mutable),
		has_maximum: C.bool(e.limits.hasMaximum), minimum: C.uint64_t(e.limits.minimum), maximum: C.uint64_t(e.limits.maximum),
	}
	if e.kind == kindTag {
		all := codes(e.function)
		out.types = (*C.uint8_t)(C.CBytes(append(all, 0)))
		out.param_count = C.size_t(len(e.function.params))
		out.result_count = C.size_t(len(e.function.results))
	}
	return C.WRT_OK
}

// made is an extern that a helper of ours exports as "x".
func (s *store) made(binary []byte, e external) (*item, error) {
	compiled, err := s.helper(binary)
	if err != nil {
		return nil, linkError(err.Error())
	}
	owner, memory, err := s.instantiate(compiled, nil)
	if err != nil {
		return nil, err
	}
	i := &item{owner: owner, field: "x", external: e}
	if memory != nil {
		i.memory = adopt(memory, &e)
	}
	return i, nil
}

//export wzMemoryNew
func wzMemoryNew(number C.uintptr_t, t *C.wrt_extern_type, out *C.wrt_extern, failure *C.wrt_failure) (result C.int) {
	defer recovered(&result, failure)
	s := stores.get(uintptr(number))
	if t.is_64 {
		return fail(failure, C.WRT_UNSUPPORTED, unsupported("memory64: wazero has no 64-bit memories"))
	}
	e := external{kind: kindMemory, limits: limits{uint64(t.minimum), uint64(t.maximum), bool(t.has_maximum), bool(t.shared)}}
	if e.limits.minimum*pageSize > uint64(s.c.memory_limit) {
		return fail(failure, C.WRT_LINK, linkError("the memory is larger than the store's limit"))
	}
	i, err := s.made(definingModule(&e, 0, 0), e)
	if err != nil {
		return fail(failure, C.WRT_LINK, err)
	}
	return s.give(i, out, failure)
}

//export wzTableNew
func wzTableNew(number C.uintptr_t, t *C.wrt_extern_type, init C.uint64_t, out *C.wrt_extern, failure *C.wrt_failure) (result C.int) {
	defer recovered(&result, failure)
	s := stores.get(uintptr(number))
	e := external{
		kind: kindTable, content: binaryTypes[t.content],
		limits: limits{minimum: uint64(t.minimum), maximum: uint64(t.maximum), hasMaximum: bool(t.has_maximum)},
	}
	if e.limits.minimum > uint64(s.elements) {
		return fail(failure, C.WRT_LINK, linkError(fmt.Sprintf("the table is larger than the limit of %d elements", s.elements)))
	}
	i, err := s.made(definingModule(&e, 0, 0), e)
	if err == nil && init != 0 {
		err = s.fillTable(i, uint64(init))
	}
	if err != nil {
		return fail(failure, C.WRT_LINK, err)
	}
	return s.give(i, out, failure)
}

//export wzGlobalNew
func wzGlobalNew(number C.uintptr_t, t *C.wrt_extern_type, low, high C.uint64_t, out *C.wrt_extern, failure *C.wrt_failure) (result C.int) {
	defer recovered(&result, failure)
	s := stores.get(uintptr(number))
	e := external{kind: kindGlobal, content: binaryTypes[t.content], mutable: bool(t.mutable_)}
	reference := t.content == C.WRT_FUNCREF || t.content == C.WRT_EXTERNREF
	var i *item
	var err error
	switch {
	case !reference || low == 0 || e.mutable:
		i, err = s.made(definingModule(&e, uint64(low), uint64(high)), e)
	case t.content == C.WRT_FUNCREF:
		i, err = s.constantFunction(uint64(low), e)
	default:
		return fail(failure, C.WRT_UNSUPPORTED, unsupported("constant-externref: wazero cannot make an immutable global that holds an externref"))
	}
	if err != nil {
		return fail(failure, C.WRT_LINK, err)
	}
	if reference && low != 0 && e.mutable {
		i.owner.ExportedGlobal("x").(api.MutableGlobal).Set(uint64(low))
	}
	return s.give(i, out, failure)
}

// constantFunction is an immutable global with a reference to a function, which a helper imports.
func (s *store) constantFunction(reference uint64, e external) (*item, error) {
	var c C.wrt_extern
	if !s.functionFrom(reference, &c) {
		return nil, linkError("the function cannot be held by a global")
	}
	function := s.itemOf(&c)
	linker, err := s.linker([]*item{function})
	if err != nil {
		return nil, err
	}
	compiled, err := s.helper(holdingModule(function.external.function))
	if err != nil {
		return nil, err
	}
	owner, _, err := s.instantiate(compiled, func(string) api.Module { return linker })
	return &item{owner: owner, field: "x", external: e}, err
}

//export wzMemoryGrow
func wzMemoryGrow(number C.uintptr_t, c *C.wz_memory, delta C.uint64_t, previous *C.uint64_t, failure *C.wrt_failure) (result C.int) {
	defer recovered(&result, failure)
	e := C.wrt_extern{opaque: [4]C.uint64_t{C.WZ_MEMORY, C.uint64_t(uintptr(unsafe.Pointer(c)))}}
	i := stores.get(uintptr(number)).itemOf(&e)
	if delta < 1<<32 {
		if before, ok := i.owner.ExportedMemory(i.field).Grow(uint32(delta)); ok {
			*previous = C.uint64_t(before)
			return C.WRT_OK
		}
	}
	return fail(failure, C.WRT_LIMIT, errors.New("the memory cannot grow that far"))
}

// words of a slot array.
func slotsAt(address C.uintptr_t, n int) []uint64 {
	return unsafe.Slice((*uint64)(unsafe.Add(unsafe.Pointer(nil), uintptr(address))), n)
}

//export wzGlobalGet
func wzGlobalGet(number, of, slot C.uintptr_t) {
	defer func() { _ = recover() }()
	s, i := stores.get(uintptr(number)), others.get(uintptr(of)).item
	if i.external.content == typeV128 {
		_ = s.callAccessor(i, "get", slotsAt(slot, 2))
		return
	}
	slotsAt(slot, 1)[0] = narrowed(i.external.content, i.owner.ExportedGlobal(i.field).Get())
}

func narrowed(t byte, value uint64) uint64 {
	if t == typeI32 || t == typeF32 {
		return value & 0xffffffff
	}
	return value
}

//export wzGlobalSet
func wzGlobalSet(number, of, slot C.uintptr_t, failure *C.wrt_failure) (result C.int) {
	defer recovered(&result, failure)
	s, i := stores.get(uintptr(number)), others.get(uintptr(of)).item
	if i.external.content == typeV128 {
		value := append([]uint64(nil), slotsAt(slot, 2)...)
		if err := s.callAccessor(i, "set", value); err != nil {
			return fail(failure, C.WRT_ERROR, err)
		}
		return C.WRT_OK
	}
	global, ok := i.owner.ExportedGlobal(i.field).(api.MutableGlobal)
	if !ok {
		return fail(failure, C.WRT_ERROR, errors.New("the global is immutable"))
	}
	global.Set(slotsAt(slot, 1)[0])
	return C.WRT_OK
}

// accessor is the helper through which the host reads and sets what wazero's API cannot: tables, and globals of v128.
func (s *store) accessor(i *item) (api.Module, error) {
	if i.accessor != nil {
		return i.accessor, nil
	}
	compiled, err := s.helper(accessingModule(i))
	if err != nil {
		return nil, err
	}
	made, _, err := s.instantiate(compiled, func(string) api.Module { return i.owner })
	i.accessor = made
	return made, err
}

func (s *store) callAccessor(i *item, name string, stack []uint64) error {
	made, err := s.accessor(i)
	if err != nil {
		return err
	}
	return made.ExportedFunction(name).CallWithStack(s, stack)
}

//export wzTableSize
func wzTableSize(number, of C.uintptr_t) (size C.uint64_t) {
	defer func() { _ = recover() }()
	s, i := stores.get(uintptr(number)), others.get(uintptr(of)).item
	stack := []uint64{0}
	if s.callAccessor(i, "size", stack) != nil {
		return 0
	}
	return C.uint64_t(stack[0] & 0xffffffff)
}

//export wzTableGet
func wzTableGet(number, of C.uintptr_t, index C.uint64_t, slot C.uintptr_t) (found C.bool) {
	defer func() { _ = recover() }()
	s, i := stores.get(uintptr(number)), others.get(uintptr(of)).item
	stack := []uint64{uint64(index)}
	if index > 0xffffffff || s.callAccessor(i, "get", stack) != nil {
		return false
	}
	slotsAt(slot, 1)[0] = stack[0]
	return true
}

//export wzTableSet
func wzTableSet(number, of C.uintptr_t, index, value C.uint64_t, failure *C.wrt_failure) (result C.int) {
	defer recovered(&result, failure)
	s, i := stores.get(uintptr(number)), others.get(uintptr(of)).item
	if err := s.callAccessor(i, "set", []uint64{uint64(index), uint64(value)}); err != nil {
		return fail(failure, C.WRT_ERROR, err)
	}
	return C.WRT_OK
}

//export wzTableGrow
func wzTableGrow(number, of C.uintptr_t, delta, value C.uint64_t, previous *C.uint64_t, failure *C.wrt_failure) (result C.int) {
	defer recovered(&result, failure)
	s, i := stores.get(uintptr(number)), others.get(uintptr(of)).item
	size := []uint64{0}
	if err := s.callAccessor(i, "size", size); err != nil {
		return fail(failure, C.WRT_ERROR, err)
	}
	limit := uint64(s.elements)
	stack := []uint64{uint64(value), uint64(delta)}
	if uint64(delta) > limit || size[0]+uint64(delta) > limit || s.callAccessor(i, "grow", stack) != nil || stack[0]&0xffffffff == 0xffffffff {
		return fail(failure, C.WRT_LIMIT, errors.New("the table cannot grow that far"))
	}
	*previous = C.uint64_t(stack[0] & 0xffffffff)
	return C.WRT_OK
}

func (s *store) fillTable(i *item, value uint64) error {
	return s.callAccessor(i, "fill", []uint64{0, value, i.external.limits.minimum})
}

//export wzFunctionToSlot
func wzFunctionToSlot(number C.uintptr_t, e *C.wrt_extern) (slot C.uint64_t) {
	defer func() { _ = recover() }()
	s := stores.get(uintptr(number))
	i := s.itemOf(e)
	if i.reference != 0 {
		return C.uint64_t(i.reference)
	}
	owner, err := s.linker([]*item{i})
	if err != nil {
		return 0
	}
	compiled, err := s.helper(referringModule(i.external.function))
	if err != nil {
		return 0
	}
	made, _, err := s.instantiate(compiled, func(string) api.Module { return owner })
	if err != nil {
		return 0
	}
	stack := []uint64{0}
	if made.ExportedFunction("get").CallWithStack(s, stack) != nil {
		return 0
	}
	i.reference = stack[0]
	if c := (*C.wz_function)(unsafe.Add(unsafe.Pointer(nil), uintptr(e.opaque[1]))); s.known[stack[0]] == nil {
		s.known[stack[0]] = c
	}
	return C.uint64_t(stack[0])
}

//export wzFunctionFromSlot
func wzFunctionFromSlot(number C.uintptr_t, reference C.uint64_t, out *C.wrt_extern) {
	defer func() { _ = recover() }()
	stores.get(uintptr(number)).functionFrom(uint64(reference), out)
}

// functionFrom gives the function behind a reference. It returns whether that worked.
func (s *store) functionFrom(reference uint64, out *C.wrt_extern) bool {
	c := s.known[reference]
	if c == nil {
		if c = s.functionBehind(reference); c == nil {
			return false
		}
		s.known[reference] = c
	}
	out.opaque = [4]C.uint64_t{C.WZ_FUNCTION, C.uint64_t(uintptr(unsafe.Pointer(c)))}
	return true
}

// functionBehind makes a callable of a reference. wazero does not tell its type, but each reference begins with two pointers
// and the number that the type has in the engine, by which guests check it. So it is compared with references to functions of
// the types that modules of this store name. A function of none of those types is called as if it had neither params nor
// results: that call traps.
func (s *store) functionBehind(reference uint64) *C.wz_function {
	tried := map[string]bool{}
	for n := len(s.shapes) - 1; n >= 0; n-- {
		for i := range s.shapes[n].types {
			t := &s.shapes[n].types[i]
			if key := t.key(); !tried[key] {
				tried[key] = true
				if s.hasType(reference, t) {
					return s.trampoline(reference, t)
				}
			}
		}
	}
	return s.trampoline(reference, &functionType{})
}

func typeNumber(reference uint64) uint32 {
	return *(*uint32)(unsafe.Add(unsafe.Pointer(nil), uintptr(reference)+2*unsafe.Sizeof(uintptr(0))))
}

func (s *store) hasType(reference uint64, t *functionType) bool {
	number, known := s.typeNumbers[t.key()]
	if !known {
		compiled, err := s.helper(trampolineModule(t))
		if err != nil {
			return false
		}
		made, _, err := s.instantiate(compiled, nil)
		if err != nil {
			return false
		}
		stack := []uint64{0}
		if made.ExportedFunction("self").CallWithStack(s, stack) != nil {
			return false
		}
		number = typeNumber(stack[0])
		s.typeNumbers[t.key()] = number
	}
	return number == typeNumber(reference)
}

// trampoline is a helper's function that calls the function that a reference refers to.
func (s *store) trampoline(reference uint64, t *functionType) *C.wz_function {
	compiled, err := s.helper(trampolineModule(t))
	if err != nil {
		return nil
	}
	made, _, err := s.instantiate(compiled, nil)
	if err != nil || made.ExportedFunction("put").CallWithStack(s, []uint64{reference}) != nil {
		return nil
	}
	copied := *t
	return s.functionOf(&item{
		owner: made, field: "call", reference: reference, external: external{kind: kindFunction, function: &copied},
	})
}
