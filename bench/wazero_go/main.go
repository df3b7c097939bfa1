// A host of otelwasm guests over wazero's own API, for bench/wazero_go.py: `wazero_go GUEST PAYLOAD [stop]`.
//
// It does what a host in Go does for one batch: a new context with the payload, the call of processTraces, and a copy of the
// result. With `stop`, guests can be stopped by their context, which wazero compiles checks for. Each line of the standard
// input is a number of batches; the answer is a line with how many nanoseconds all of them took together.
package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

const abi = "opentelemetry.io/wasm"

type batchKey struct{}

// batch is what one call hands to the guest and takes back from it.
type batch struct{ current, result []byte }

func of(ctx context.Context) *batch { return ctx.Value(batchKey{}).(*batch) }

// fill copies data into the guest's buffer, where it fits, and returns its true size.
func fill(data []byte, module api.Module, stack []uint64) {
	offset, limit := api.DecodeU32(stack[0]), api.DecodeU32(stack[1])
	if len(data) <= int(limit) && !module.Memory().Write(offset, data) {
		panic("the guest's buffer is out of bounds")
	}
	stack[0] = api.EncodeU32(uint32(len(data)))
}

func current(ctx context.Context, module api.Module, stack []uint64) { fill(of(ctx).current, module, stack) }

func setResult(ctx context.Context, module api.Module, stack []uint64) {
	view, ok := module.Memory().Read(api.DecodeU32(stack[0]), api.DecodeU32(stack[1]))
	if !ok {
		panic("the guest's result is out of bounds")
	}
	of(ctx).result = bytes.Clone(view)
}

func nothing(_ context.Context, module api.Module, stack []uint64) { fill(nil, module, stack) }

func ignored(context.Context, api.Module, []uint64) {}

func no(_ context.Context, _ api.Module, stack []uint64) { stack[0] = 0 }

// load makes an instance of the guest. It returns its processTraces.
func load(ctx context.Context, guest []byte, stop bool) (api.Function, error) {
	runtime := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler().WithCloseOnContextDone(stop))
	wasi_snapshot_preview1.MustInstantiate(ctx, runtime)
	i32 := api.ValueTypeI32
	builder := runtime.NewHostModuleBuilder(abi)
	add := func(name string, function api.GoModuleFunc, params, results []api.ValueType) {
		builder = builder.NewFunctionBuilder().WithGoModuleFunction(function, params, results).Export(name)
	}
	two, one := []api.ValueType{i32, i32}, []api.ValueType{i32}
	for _, signal := range []string{"Traces", "Metrics", "Logs"} {
		add("current"+signal, current, two, one)
		add("setResult"+signal, setResult, two, nil)
	}
	add("getPluginConfig", nothing, two, one)
	add("setResultStatusReason", ignored, two, nil)
	add("getShutdownRequested", no, nil, one)
	add("logMessage", ignored, []api.ValueType{i32, i32, i32}, nil)
	if _, err := builder.Instantiate(ctx); err != nil {
		return nil, err
	}
	module, err := runtime.InstantiateWithConfig(ctx, guest, wazero.NewModuleConfig().WithStartFunctions("_initialize"))
	if err != nil {
		return nil, err
	}
	process := module.ExportedFunction("processTraces")
	if process == nil {
		return nil, fmt.Errorf("the guest exports no processTraces")
	}
	return process, nil
}

// process hands one payload to the guest. It returns the guest's result.
func process(ctx context.Context, function api.Function, payload []byte) ([]byte, error) {
	b := &batch{current: payload}
	status, err := function.Call(context.WithValue(ctx, batchKey{}, b))
	if err == nil && status[0] != 0 {
		err = fmt.Errorf("the guest's status is %d", status[0])
	}
	return b.result, err
}

func run() error {
	if len(os.Args) < 3 {
		return fmt.Errorf("usage: wazero_go GUEST PAYLOAD [stop]")
	}
	guest, err := os.ReadFile(os.Args[1])
	if err != nil {
		return err
	}
	payload, err := os.ReadFile(os.Args[2])
	if err != nil {
		return err
	}
	// A context that can end, as a host's contexts can.
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	function, err := load(ctx, guest, len(os.Args) > 3 && os.Args[3] == "stop")
	if err != nil {
		return err
	}
	input := bufio.NewScanner(os.Stdin)
	for input.Scan() {
		count, err := strconv.Atoi(strings.TrimSpace(input.Text()))
		if err != nil {
			return err
		}
		begin := time.Now()
		var result []byte
		for range count {
			if result, err = process(ctx, function, payload); err != nil {
				return err
			}
		}
		taken := time.Since(begin)
		if count > 0 && !bytes.Equal(result, payload) {
			return fmt.Errorf("the guest changed the payload")
		}
		fmt.Println(taken.Nanoseconds())
	}
	return input.Err()
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "wazero_go:", err)
		os.Exit(1)
	}
}
