package main

// #include "wazero.h"
import "C"

import (
	"sync/atomic"
	"unsafe"

	"github.com/tetratelabs/wazero/api"
)

// take gives what calls the function: nested calls of one function each need a stack of their own. It is to be given back.
func (f *function) take() (callable api.Function, own bool) {
	if f.busy {
		return f.item.owner.ExportedFunction(f.item.field), true
	}
	f.busy = true
	return f.callable, false
}

func (f *function) giveBack(own bool) {
	if !own {
		f.busy = false
	}
}

// failed turns the error of a call into a failure. So many host functions ran when the call began.
func (f *function) failed(err error, own bool, depth int, failure *C.wrt_failure) C.int {
	f.store.callers = f.store.callers[:depth]
	if overflowed(err) && !own { // its stack has grown to the limit, and would stay that large
		f.callable = f.item.owner.ExportedFunction(f.item.field)
	}
	return fail(failure, C.WRT_ERROR, err)
}

//export wzCall
func wzCall(number, slots C.uintptr_t, failure *C.wrt_failure) (result C.int) {
	defer recovered(&result, failure)
	f := functions.get(uintptr(number))
	callable, own := f.take()
	defer f.giveBack(own)
	depth := len(f.store.callers)
	if err := callable.CallWithStack(f.store, slotsAt(slots, f.words)); err != nil {
		return f.failed(err, own, depth, failure)
	}
	return C.WRT_OK
}

// wzCallRows calls a function without vectors for each row of slots; see call_rows in wrt.h. Entering Go once for all of them
// saves most of what a call costs.
//
//export wzCallRows
func wzCallRows(number, slots C.uintptr_t, stride, rows C.size_t, stop *C.bool, done *C.size_t, failure *C.wrt_failure) (result C.int) {
	defer recovered(&result, failure)
	f := functions.get(uintptr(number))
	callable, own := f.take()
	defer f.giveBack(own)
	s := f.store
	depth := len(s.callers)
	for ; *done < rows; slots += C.uintptr_t(stride) * wordSize {
		if err := s.pollOnce(); err != nil {
			return fail(failure, C.WRT_ERROR, err)
		}
		row := slotsAt(slots, int(stride))
		for n := 1; n < f.params; n++ {
			row[n] = row[2*n]
		}
		if err := callable.CallWithStack(s, row[:f.words]); err != nil {
			return f.failed(err, own, depth, failure)
		}
		for n := len(f.narrow) - 1; n >= 0; n-- {
			value := row[n]
			if f.narrow[n] {
				value &= 0xffffffff
			}
			row[2*n] = value
		}
		*done++
		if *stop {
			break
		}
	}
	return C.WRT_OK
}

const wordSize = 8

// pollOnce polls before a call if the engine has ticked, as the C half does, without leaving Go where it has not.
func (s *store) pollOnce() error {
	if atomic.LoadUintptr((*uintptr)(unsafe.Pointer(&s.c.engine.ticks))) == uintptr(s.c.seen) {
		return nil
	}
	return polled(C.wz_poll(s.c))
}

// polled is the error that unwinds a guest after a poll with this result, if it does.
func polled(result C.int) error {
	switch result {
	case C.WRT_OK:
		return nil
	case C.WRT_UNSUPPORTED:
		return errForked
	}
	return errHost
}
