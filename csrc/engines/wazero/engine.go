// The engine wazero for the table of wrt.h, as a C library. The C half is table.c.
package main

// #cgo CFLAGS: -I${SRCDIR}/../.. -std=gnu11 -D_GNU_SOURCE -O3 -fvisibility=hidden -Wall -Wextra
// #include <stdlib.h>
// #include "wazero.h"
import "C"

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
)

func main() {}

// engine is one wazero.Runtime, which compiles modules and links instances of one set of features.
type engine struct {
	runtime    wazero.Runtime
	polls      bool
	vectors    bool
	exceptions bool
	long       bool         // indexes of memories may be written longer than necessary
	holders    atomic.Int64 // how many hold it: its maker, its modules and its stores

	pollOnce  sync.Once // of the next two
	poll      uint64
	pollError error

	mutex   sync.Mutex                       // of what follows
	helpers map[string]wazero.CompiledModule // by their bytes; see helper
}

// module is a compiled module.
type module struct {
	engine   *engine
	compiled wazero.CompiledModule
	shape    *shape
	number   uint64
	holders  atomic.Int64 // how many hold it: its maker, and its instances
}

// The shapes of living modules by their numbers, for the names in traces.
var (
	names   sync.Map // uint64 -> *shape
	numbers atomic.Uint64
)

// bytesAt is memory of C's, borrowed.
func bytesAt(address C.uintptr_t, size C.size_t) []byte {
	if size == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(nil), uintptr(address))), int(size))
}

//export wzSetTimer
func wzSetTimer() {
	defer func() { _ = recover() }()
	time.Sleep(time.Nanosecond)
}

//export wzEngineNew
func wzEngineNew(interpreter C.bool, features C.uint64_t, polls, lengthy C.bool, out *C.uintptr_t, failure *C.wrt_failure) (result C.int) {
	defer recovered(&result, failure)
	var config wazero.RuntimeConfig
	if interpreter {
		config = wazero.NewRuntimeConfigInterpreter()
	} else {
		config = wazero.NewRuntimeConfigCompiler()
	}
	config = config.WithCoreFeatures(api.CoreFeatures(features)).WithCloseOnContextDone(false).WithDebugInfoEnabled(false)
	on := api.CoreFeatures(features).IsEnabled
	e := &engine{
		runtime:    wazero.NewRuntimeWithConfig(context.Background(), config),
		polls:      bool(polls),
		long:       bool(lengthy),
		vectors:    on(api.CoreFeatureSIMD),
		exceptions: on(experimental.CoreFeaturesExceptionHandling),
		helpers:    map[string]wazero.CompiledModule{},
	}
	e.holders.Store(1)
	*out = C.uintptr_t(engines.add(e))
	return C.WRT_OK
}

// release gives up one hold on the engine; the last one closes everything.
func (e *engine) release() {
	if e.holders.Add(-1) == 0 {
		_ = e.runtime.Close(context.Background())
	}
}

//export wzEngineDelete
func wzEngineDelete(number C.uintptr_t) {
	defer func() { _ = recover() }()
	e := engines.get(uintptr(number))
	engines.remove(uintptr(number))
	e.release()
}

// pollReference is a reference to the function that guests call when they have counted down to zero; made once. The function
// finds the store by the context of the call, so one serves all stores. A listener would need no such function, but wazero
// keeps code for the listeners of every module that it ever compiled.
func (e *engine) pollReference() (uint64, error) {
	e.pollOnce.Do(func() {
		e.pollError = errors.New("the function by which guests poll could not be made") // unless this comes to its end
		poll := func(ctx context.Context, _ api.Module, _ []uint64) {
			if err := polled(C.wz_poll(ctx.(*store).c)); err != nil {
				panic(err)
			}
		}
		e.poll, e.pollError = e.referenceTo(e.runtime.NewHostModuleBuilder("poll").NewFunctionBuilder().
			WithGoModuleFunction(api.GoModuleFunc(poll), nil, nil).Export("0"))
	})
	return e.poll, e.pollError
}

// referenceTo gives a reference to the function without params and results that a host module exports as "0".
func (e *engine) referenceTo(builder wazero.HostModuleBuilder) (uint64, error) {
	ctx := context.Background()
	config := wazero.NewModuleConfig().WithName("").WithStartFunctions()
	compiled, err := builder.Compile(ctx)
	if err != nil {
		return 0, err
	}
	host, err := e.runtime.InstantiateModule(ctx, compiled, config)
	if err != nil {
		return 0, err
	}
	helper, _, err := e.helper(referringModule(&functionType{})) // made once, so the runtime may own it either way
	if err != nil {
		return 0, err
	}
	ctx = experimental.WithImportResolver(ctx, func(string) api.Module { return host })
	owner, err := e.runtime.InstantiateModule(ctx, helper, config)
	if err != nil {
		return 0, err
	}
	stack := []uint64{0}
	err = owner.ExportedFunction("get").CallWithStack(ctx, stack)
	return stack[0], err
}

// compile prepares and compiles. A module that cannot be read here is left to the engine, which refuses it with its own
// message.
func (e *engine) compile(given []byte) (*module, error) {
	number := numbers.Add(1)
	found, prepared, err := e.prepare(given, number)
	ctx := context.Background()
	if errors.Is(err, errDeep) {
		return nil, unsupported(err.Error())
	}
	if err != nil {
		compiled, refused := e.runtime.CompileModule(ctx, bytes.Clone(given))
		if refused != nil {
			return nil, refused
		}
		_ = compiled.Close(ctx)
		if errors.Is(err, errMalformed) || errors.Is(err, errType) { // errors that wazero misses in places
			return nil, err
		}
		return nil, unsupported("implementation-limit: wazero takes this module, but " + err.Error())
	}
	compiled, err := e.runtime.CompileModule(ctx, prepared)
	if err != nil {
		return nil, err
	}
	m := &module{engine: e, compiled: compiled, shape: found, number: number}
	m.holders.Store(1)
	e.holders.Add(1)
	names.Store(number, found)
	return m, nil
}

func (m *module) release() {
	if m.holders.Add(-1) == 0 {
		_ = m.compiled.Close(context.Background())
		names.Delete(m.number)
		m.engine.release()
	}
}

//export wzValidate
func wzValidate(number C.uintptr_t, data C.uintptr_t, size C.size_t, failure *C.wrt_failure) (result C.int) {
	defer recovered(&result, failure)
	m, err := engines.get(uintptr(number)).compile(bytesAt(data, size))
	if err != nil {
		return fail(failure, C.WRT_INVALID, err)
	}
	m.release()
	return C.WRT_OK
}

//export wzCompile
func wzCompile(number C.uintptr_t, data C.uintptr_t, size C.size_t, out *C.uintptr_t, failure *C.wrt_failure) (result C.int) {
	defer recovered(&result, failure)
	m, err := engines.get(uintptr(number)).compile(bytesAt(data, size))
	if err != nil {
		return fail(failure, C.WRT_INVALID, err)
	}
	*out = C.uintptr_t(modules.add(m))
	return C.WRT_OK
}

//export wzModuleDelete
func wzModuleDelete(number C.uintptr_t) {
	defer func() { _ = recover() }()
	m := modules.get(uintptr(number))
	modules.remove(uintptr(number))
	m.release()
}

// mostHelpers is how many helpers an engine keeps. Guests choose names and types in them, so there is no end to different ones.
const mostHelpers = 256

// helper is a small module of ours, compiled, and whether the engine keeps it. The engine owns what it keeps, and its runtime
// closes that at the end; what it does not keep belongs to the caller. wazero counts those who compiled the same bytes, so
// closing it takes nothing from others.
func (e *engine) helper(binary []byte) (compiled wazero.CompiledModule, kept bool, err error) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	if known, ok := e.helpers[string(binary)]; ok {
		return known, true, nil
	}
	compiled, err = e.runtime.CompileModule(context.Background(), bytes.Clone(binary))
	if err != nil {
		return nil, false, errors.Join(errors.New("a helper of our own does not compile"), err)
	}
	if len(e.helpers) < mostHelpers {
		e.helpers[string(binary)] = compiled
		kept = true
	}
	return compiled, kept, nil
}
