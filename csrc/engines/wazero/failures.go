package main

// #include <stdlib.h>
// #include <string.h>
// #include "wazero.h"
import "C"

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unsafe"

	"github.com/tetratelabs/wazero/sys"
)

// errHost unwinds a guest whose host function failed: the host knows the reason. It is never wrapped on its way.
var errHost error = sys.NewExitError(0xffff)

// errStack unwinds a guest for lack of native stack.
var errStack error = sys.NewExitError(0xfffe)

// errForked unwinds a guest in the child of a fork that its host function, or a signal handler, has made.
var errForked error = sys.NewExitError(0xfffd)

// overflowed: the guest's stack was exhausted.
func overflowed(err error) bool { return errors.Is(err, errStack) || err.Error() == "stack overflow" }

// linkError: the module cannot be instantiated with these imports or within these limits.
type linkError string

func (e linkError) Error() string { return string(e) }

// unsupported: beyond this engine; the text may begin with a feature's name and a colon.
type unsupported string

func (e unsupported) Error() string { return string(e) }

// wazero's traps by their texts, and the texts that other engines have for the same traps.
var traps = map[string]struct {
	trap C.wrt_trap
	text string
}{
	"stack overflow":                {C.WRT_TRAP_STACK_OVERFLOW, "call stack exhausted"},
	"out of bounds memory access":   {C.WRT_TRAP_MEMORY_OUT_OF_BOUNDS, ""},
	"invalid table access":          {C.WRT_TRAP_TABLE_OUT_OF_BOUNDS, "undefined element: out of bounds table access or null element"},
	"indirect call type mismatch":   {C.WRT_TRAP_BAD_SIGNATURE, ""},
	"integer overflow":              {C.WRT_TRAP_INTEGER_OVERFLOW, ""},
	"integer divide by zero":        {C.WRT_TRAP_INTEGER_DIVISION_BY_ZERO, ""},
	"invalid conversion to integer": {C.WRT_TRAP_BAD_CONVERSION_TO_INTEGER, ""},
	"unreachable":                   {C.WRT_TRAP_UNREACHABLE, "wasm `unreachable` instruction executed"},
	"unaligned atomic":              {C.WRT_TRAP_HEAP_MISALIGNED, ""},
	"uncaught exception":            {C.WRT_TRAP_UNCAUGHT_EXCEPTION, "thrown Wasm exception"},
	"null reference":                {C.WRT_TRAP_NULL_REFERENCE, ""},
}

const trapBegins = "wasm error: "

const traceBegins = "\nwasm stack trace:\n\t"

// fail fills a failure, whose texts and frames C owns, and returns the result that stands for the error.
func fail(failure *C.wrt_failure, otherwise C.int, err error) C.int {
	*failure = C.wrt_failure{trap: C.WRT_TRAP_OTHER}
	if errors.Is(err, errHost) {
		return C.WRT_HOST
	}
	if errors.Is(err, errStack) {
		failure.trap = C.WRT_TRAP_STACK_OVERFLOW
		failure.message = C.CString("call stack exhausted")
		return C.WRT_TRAP
	}
	if errors.Is(err, errForked) {
		failure.message = C.strdup(C.wz_forked)
		return C.WRT_ERROR
	}
	text := err.Error()
	trace := ""
	if at := strings.Index(text, traceBegins); at >= 0 {
		text, trace = text[:at], text[at+len(traceBegins):]
	}
	result := otherwise
	var link linkError
	var beyond unsupported
	switch {
	case errors.As(err, &link):
		result = C.WRT_LINK
	case errors.As(err, &beyond):
		result = C.WRT_UNSUPPORTED
	default:
		if strings.HasPrefix(text, "data[") && strings.HasSuffix(text, "out of bounds memory access") {
			text = trapBegins + "out of bounds memory access" // a data segment: wazero does not count this as a trap
		}
		// For a start function wazero says so first; for a stack overflow it gives only the reason.
		if at := strings.Index(text, trapBegins); at >= 0 || text == "stack overflow" {
			result = C.WRT_TRAP
			text = text[max(0, at):]
			text = strings.TrimPrefix(text, trapBegins)
			if known, ok := traps[text]; ok {
				failure.trap = known.trap
				text = cmp.Or(known.text, text)
			}
			fillFrames(failure, trace)
		}
	}
	failure.message = C.CString(text)
	return result
}

// fillFrames reads a trace, whose lines are `m7.$12(i32,i32) i32`: the module's number and the function's index.
func fillFrames(failure *C.wrt_failure, trace string) {
	var found []frame
	for _, line := range strings.Split(trace, "\n") {
		if one, ok := readFrame(strings.TrimSpace(line)); ok {
			found = append(found, one)
		}
	}
	if len(found) == 0 {
		return
	}
	size := C.size_t(unsafe.Sizeof(C.wrt_frame{}))
	memory := C.calloc(C.size_t(len(found)), size)
	if memory == nil {
		return
	}
	frames := unsafe.Slice((*C.wrt_frame)(memory), len(found))
	for i, each := range found {
		frames[i].func_index = C.uint32_t(each.index)
		frames[i].func_offset = ^C.uint64_t(0)
		frames[i].module_offset = ^C.uint64_t(0)
		if each.name != "" {
			frames[i].func_name = C.CString(each.name)
		}
		if each.module != "" {
			frames[i].module_name = C.CString(each.module)
		}
	}
	failure.frames = (*C.wrt_frame)(memory)
	failure.frame_count = C.size_t(len(found))
}

type frame struct {
	index        uint32
	name, module string
}

func readFrame(line string) (frame, bool) {
	module, rest, ok := strings.Cut(line, ".$")
	if !ok || !strings.HasPrefix(module, "m") {
		return frame{}, false
	}
	digits, _, _ := strings.Cut(rest, "(")
	number, err := strconv.ParseUint(module[1:], 10, 64)
	index, wrong := strconv.ParseUint(digits, 10, 32)
	if err != nil || wrong != nil {
		return frame{}, false
	}
	known, ok := names.Load(number)
	if !ok || int(index) >= len(known.(*shape).functions) { // the function by which guests poll is the last
		return frame{}, ok && false
	}
	return frame{uint32(index), known.(*shape).names[uint32(index)], known.(*shape).title}, true
}

// recovered turns a panic into a failure: a panic that left Go would end the process. To be deferred.
func recovered(result *C.int, failure *C.wrt_failure) {
	if r := recover(); r != nil {
		if link, ok := r.(linkError); ok {
			*failure = C.wrt_failure{trap: C.WRT_TRAP_OTHER, message: C.CString(string(link))}
			*result = C.WRT_LINK
			return
		}
		*failure = C.wrt_failure{trap: C.WRT_TRAP_OTHER, message: C.CString(fmt.Sprintf("wazero panicked: %v", r))}
		*result = C.WRT_ERROR
	}
}
