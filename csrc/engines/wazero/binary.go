package main

import (
	"errors"
	"unicode/utf8"
)

// The part of the binary format (WebAssembly core specification 2.0, section 5) that is needed to read and rewrite a module.

const (
	sectionCustom = iota
	sectionType
	sectionImport
	sectionFunction
	sectionTable
	sectionMemory
	sectionGlobal
	sectionExport
	sectionStart
	sectionElement
	sectionCode
	sectionData
	sectionDataCount
	sectionTag
)

const (
	kindFunction = iota
	kindTable
	kindMemory
	kindGlobal
	kindTag
)

const (
	typeI32       = 0x7f
	typeI64       = 0x7e
	typeF32       = 0x7d
	typeF64       = 0x7c
	typeV128      = 0x7b
	typeFuncref   = 0x70
	typeExternref = 0x6f
	typeExn       = 0x69
	typeRefNull   = 0x63
	typeRef       = 0x64
)

// errType: the module has a type of a proposal that is off.
var errType = errors.New("the module has a type that is not on here")

var errMalformed = errors.New("the module is malformed")

// reader reads numbers, names and vectors. Reading beyond the end panics with errMalformed, which prepare catches.
type reader struct {
	data   []byte
	at     int
	padded []number // what was read that can be written shorter
}

// number is a number in the module, and its value.
type number struct {
	begin, end int
	signed     bool
	value      int64
}

// shortest appends what lies between two places of the data, with each padded number in its shortest form.
func (r *reader) shortest(to []byte, begin, end int) []byte {
	w := writer{to}
	for _, each := range r.padded {
		w.bytes(r.data[begin:each.begin])
		if each.signed {
			w.sleb(each.value)
		} else {
			w.uleb(uint64(each.value))
		}
		begin = each.end
	}
	w.bytes(r.data[begin:end])
	return w.data
}

func (r *reader) byte() byte {
	if r.at >= len(r.data) {
		panic(errMalformed)
	}
	r.at++
	return r.data[r.at-1]
}

func (r *reader) bytes(size int) []byte {
	if size < 0 || size > len(r.data)-r.at {
		panic(errMalformed)
	}
	r.at += size
	return r.data[r.at-size : r.at]
}

// index reads an unsigned number of 32 bits, in five bytes at most.
func (r *reader) index() uint32 {
	begin := r.at
	var value uint64
	for shift := 0; shift < 35; shift += 7 {
		b := r.byte()
		value |= uint64(b&0x7f) << shift
		if b < 0x80 && value <= 0xffffffff {
			if b == 0 && shift > 0 {
				r.padded = append(r.padded, number{begin: begin, end: r.at, value: int64(value)})
			}
			return uint32(value)
		}
	}
	panic(errMalformed) // too large, or too long
}

// signed reads a number of so many bits, in no more bytes than these need.
func (r *reader) signed(bits int) int64 {
	begin := r.at
	var value int64
	var before byte
	for shift := 0; shift < bits; shift += 7 {
		b := r.byte()
		value |= int64(b&0x7f) << shift
		if b >= 0x80 {
			before = b
			continue
		}
		if shift < 57 && b&0x40 != 0 {
			value |= -1 << (shift + 7)
		}
		if high := value >> (bits - 1); high != 0 && high != -1 {
			break // too large
		}
		if shift == 63 && b != 0 && b != 0x7f {
			break
		}
		if shift > 0 && (b == 0 && before&0x40 == 0 || b == 0x7f && before&0x40 != 0) {
			r.padded = append(r.padded, number{begin: begin, end: r.at, signed: true, value: value})
		}
		return value
	}
	panic(errMalformed) // too large, or too long
}

func (r *reader) count() int {
	value := uint64(r.index())
	if value > uint64(len(r.data)-r.at) { // each item takes at least one byte
		panic(errMalformed)
	}
	return int(value)
}

func (r *reader) name() string {
	text := r.bytes(r.count())
	if !utf8.Valid(text) {
		panic(errMalformed)
	}
	return string(text)
}

// writer writes numbers, names and vectors.
type writer struct{ data []byte }

func (w *writer) byte(b ...byte)    { w.data = append(w.data, b...) }
func (w *writer) bytes(data []byte) { w.data = append(w.data, data...) }

func (w *writer) uleb(value uint64) {
	for value >= 0x80 {
		w.data = append(w.data, byte(value)|0x80)
		value >>= 7
	}
	w.data = append(w.data, byte(value))
}

func (w *writer) sleb(value int64) {
	for {
		low := byte(value & 0x7f)
		value >>= 7
		if (value == 0 && low&0x40 == 0) || (value == -1 && low&0x40 != 0) {
			w.data = append(w.data, low)
			return
		}
		w.data = append(w.data, low|0x80)
	}
}

func (w *writer) name(text string) {
	w.uleb(uint64(len(text)))
	w.data = append(w.data, text...)
}

func (w *writer) section(id byte, content []byte) {
	w.byte(id)
	w.uleb(uint64(len(content)))
	w.bytes(content)
}

type limits struct {
	minimum, maximum uint64
	hasMaximum       bool
	shared           bool
}

func (r *reader) limits() limits {
	flags := r.byte()
	if flags > 3 {
		panic(errMalformed)
	}
	found := limits{minimum: uint64(r.index()), shared: flags&2 != 0}
	if flags&1 != 0 {
		found.hasMaximum = true
		found.maximum = uint64(r.index())
	}
	return found
}

func (w *writer) limits(l limits) {
	var flags byte
	if l.hasMaximum {
		flags |= 1
	}
	if l.shared {
		flags |= 2
	}
	w.byte(flags)
	w.uleb(l.minimum)
	if l.hasMaximum {
		w.uleb(l.maximum)
	}
}

type functionType struct{ params, results []byte }

func (t *functionType) key() string { return string(t.params) + "\x00" + string(t.results) }

func (w *writer) functionType(t *functionType) {
	w.byte(0x60)
	w.name(string(t.params))
	w.name(string(t.results))
}

// external describes an import, an export or a definition.
type external struct {
	kind     byte
	function *functionType // of a function or a tag
	content  byte          // the type of a table's elements or of a global
	mutable  bool
	limits   limits // of a table or a memory
	short    bool   // of a function: see call_is_short in wrt.h
}

// description is the form that an external has in the import section, without its kind.
func (w *writer) description(e *external, typeIndex uint64) {
	switch e.kind {
	case kindFunction:
		w.uleb(typeIndex)
	case kindTable:
		w.byte(e.content)
		w.limits(e.limits)
	case kindMemory:
		w.limits(e.limits)
	case kindGlobal:
		w.byte(e.content, boolByte(e.mutable))
	case kindTag:
		w.byte(0)
		w.uleb(typeIndex)
	}
}

func boolByte(b bool) byte {
	if b {
		return 1
	}
	return 0
}
