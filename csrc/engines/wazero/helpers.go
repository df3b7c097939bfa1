package main

import (
	"slices"
	"strconv"

	"github.com/tetratelabs/wazero/api"
)

// Small modules of ours that do what wazero's API does not: export what the host makes, rename, read tables.

const magic = "\x00asm\x01\x00\x00\x00"

type builder struct{ writer }

func newBuilder() *builder {
	b := &builder{}
	b.bytes([]byte(magic))
	return b
}

// vector adds a section of items.
func (b *builder) vector(id byte, items ...[]byte) {
	w := &writer{}
	w.uleb(uint64(len(items)))
	for _, each := range items {
		w.bytes(each)
	}
	b.section(id, w.data)
}

func functionTypeItem(params, results []byte) []byte {
	w := &writer{}
	w.functionType(&functionType{params, results})
	return w.data
}

func importItem(module, field string, e *external, typeIndex int) []byte {
	w := &writer{}
	w.name(module)
	w.name(field)
	w.byte(e.kind)
	w.description(e, uint64(typeIndex))
	return w.data
}

func exportItem(name string, kind byte, index int) []byte {
	w := &writer{}
	w.name(name)
	w.byte(kind)
	w.uleb(uint64(index))
	return w.data
}

func bodyItem(code ...byte) []byte {
	w := &writer{}
	w.uleb(uint64(len(code) + 2))
	w.byte(0)
	w.bytes(code)
	w.byte(0x0b)
	return w.data
}

// open is an external whose import always matches: its minimum is zero.
func open(e external) external {
	e.limits.minimum = 0
	return e
}

// linkingModule imports each item from its owner (a host function from "h", by its number) and exports it by its number.
func linkingModule(items []*item, owners map[api.Module]string) []byte {
	b := newBuilder()
	var types, imports, exports [][]byte
	counts := map[byte]int{}
	for n, each := range items {
		e := open(each.external)
		typeIndex := 0
		if e.function != nil {
			typeIndex = len(types)
			types = append(types, functionTypeItem(e.function.params, e.function.results))
		}
		module, field := "h", strconv.Itoa(n)
		if each.host == nil {
			module, field = owners[each.owner], each.field
		}
		imports = append(imports, importItem(module, field, &e, typeIndex))
		exports = append(exports, exportItem(strconv.Itoa(n), e.kind, counts[e.kind]))
		counts[e.kind]++
	}
	b.vector(sectionType, types...)
	b.vector(sectionImport, imports...)
	b.vector(sectionExport, exports...)
	return b.data
}

// definingModule defines a memory, a table or a global, and exports it as "x".
func definingModule(e *external, low, high uint64) []byte {
	b := newBuilder()
	w := &writer{}
	w.description(e, 0)
	switch e.kind {
	case kindTable:
		b.vector(sectionTable, w.data)
	case kindMemory:
		b.vector(sectionMemory, w.data)
	case kindGlobal:
		w.constant(e.content, low, high)
		w.byte(0x0b)
		b.vector(sectionGlobal, w.data)
	}
	b.vector(sectionExport, exportItem("x", e.kind, 0))
	return b.data
}

// constant is the instruction that pushes a value; a reference is null.
func (w *writer) constant(t byte, low, high uint64) {
	switch t {
	case typeI32:
		w.byte(0x41)
		w.sleb(int64(int32(low)))
	case typeI64:
		w.byte(0x42)
		w.sleb(int64(low))
	case typeF32:
		w.byte(0x43)
		w.little(low, 4)
	case typeF64:
		w.byte(0x44)
		w.little(low, 8)
	case typeV128:
		w.byte(0xfd, 0x0c)
		w.little(low, 8)
		w.little(high, 8)
	default:
		w.byte(0xd0, t)
	}
}

func (w *writer) little(value uint64, size int) {
	for range size {
		w.byte(byte(value))
		value >>= 8
	}
}

// accessingModule reads and sets a table, or a global of v128, which it imports.
func accessingModule(i *item) []byte {
	b := newBuilder()
	e := open(i.external)
	from := importItem("x", i.field, &e, 0)
	ref := []byte{e.content}
	i32 := []byte{typeI32}
	if e.kind == kindGlobal {
		b.vector(sectionType, functionTypeItem(nil, ref), functionTypeItem(ref, nil))
		b.vector(sectionImport, from)
		functions, exports, bodies := [][]byte{{0}}, [][]byte{exportItem("get", kindFunction, 0)}, [][]byte{bodyItem(0x23, 0)}
		if e.mutable {
			functions = append(functions, []byte{1})
			exports = append(exports, exportItem("set", kindFunction, 1))
			bodies = append(bodies, bodyItem(0x20, 0, 0x24, 0))
		}
		b.vector(sectionFunction, functions...)
		b.vector(sectionExport, exports...)
		b.vector(sectionCode, bodies...)
		return b.data
	}
	b.vector(sectionType, functionTypeItem(nil, i32), functionTypeItem(i32, ref),
		functionTypeItem(slices.Concat(i32, ref), nil), functionTypeItem(slices.Concat(ref, i32), i32),
		functionTypeItem(slices.Concat(i32, ref, i32), nil))
	b.vector(sectionImport, from)
	b.vector(sectionFunction, []byte{0}, []byte{1}, []byte{2}, []byte{3}, []byte{4})
	b.vector(sectionExport, exportItem("size", kindFunction, 0), exportItem("get", kindFunction, 1),
		exportItem("set", kindFunction, 2), exportItem("grow", kindFunction, 3), exportItem("fill", kindFunction, 4))
	b.vector(sectionCode, bodyItem(0xfc, 0x10, 0), bodyItem(0x20, 0, 0x25, 0),
		bodyItem(0x20, 0, 0x20, 1, 0x26, 0), bodyItem(0x20, 0, 0x20, 1, 0xfc, 0x0f, 0),
		bodyItem(0x20, 0, 0x20, 1, 0x20, 2, 0xfc, 0x11, 0))
	return b.data
}

// referringModule gives a reference to the function that it imports.
func referringModule(t *functionType) []byte {
	b := newBuilder()
	e := external{kind: kindFunction, function: t}
	b.vector(sectionType, functionTypeItem(t.params, t.results), functionTypeItem(nil, []byte{typeFuncref}))
	b.vector(sectionImport, importItem("l", "0", &e, 0))
	b.vector(sectionFunction, []byte{1})
	b.vector(sectionExport, exportItem("get", kindFunction, 1))
	b.vector(sectionElement, []byte{3, 0, 1, 0})
	b.vector(sectionCode, bodyItem(0xd2, 0))
	return b.data
}

// holdingModule has a constant global with a reference to the function that it imports.
func holdingModule(t *functionType) []byte {
	b := newBuilder()
	e := external{kind: kindFunction, function: t}
	b.vector(sectionType, functionTypeItem(t.params, t.results))
	b.vector(sectionImport, importItem("l", "0", &e, 0))
	b.vector(sectionGlobal, []byte{typeFuncref, 0, 0xd2, 0, 0x0b})
	b.vector(sectionExport, exportItem("x", kindGlobal, 0))
	return b.data
}

// trampolineModule calls the function that was put into its table, and gives a reference to the function that does so.
func trampolineModule(t *functionType) []byte {
	b := newBuilder()
	reference := []byte{typeFuncref}
	b.vector(sectionType, functionTypeItem(t.params, t.results), functionTypeItem(reference, nil), functionTypeItem(nil, reference))
	b.vector(sectionFunction, []byte{0}, []byte{1}, []byte{2})
	b.vector(sectionTable, []byte{typeFuncref, 1, 1, 1})
	b.vector(sectionExport, exportItem("call", kindFunction, 0), exportItem("put", kindFunction, 1), exportItem("self", kindFunction, 2))
	w := &writer{}
	for n := range t.params {
		w.byte(0x20)
		w.uleb(uint64(n))
	}
	w.byte(0x41, 0, 0x11, 0, 0)
	b.vector(sectionCode, bodyItem(w.data...), bodyItem(0x41, 0, 0x20, 0, 0x26, 0), bodyItem(0xd2, 0))
	return b.data
}
