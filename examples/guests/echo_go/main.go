// A processor that gives back what it is given: the twin of echo.c in Go, with nothing but the standard library.
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -o echo.wasm main.go
package main

import (
	"runtime"
	"unsafe"
)

//go:wasmimport opentelemetry.io/wasm currentTraces
func currentTraces(buffer, limit uint32) uint32

//go:wasmimport opentelemetry.io/wasm currentMetrics
func currentMetrics(buffer, limit uint32) uint32

//go:wasmimport opentelemetry.io/wasm currentLogs
func currentLogs(buffer, limit uint32) uint32

//go:wasmimport opentelemetry.io/wasm setResultTraces
func setResultTraces(data, size uint32)

//go:wasmimport opentelemetry.io/wasm setResultMetrics
func setResultMetrics(data, size uint32)

//go:wasmimport opentelemetry.io/wasm setResultLogs
func setResultLogs(data, size uint32)

var buffer = make([]byte, 4096)

func address(data []byte) uint32 {
	return uint32(uintptr(unsafe.Pointer(unsafe.SliceData(data))))
}

// fetch reads what the host has: it tells the true size, and writes only what fits.
func fetch(fill func(buffer, limit uint32) uint32) []byte {
	size := fill(address(buffer), uint32(len(buffer)))
	if size > uint32(len(buffer)) {
		buffer = make([]byte, size)
		fill(address(buffer), size)
	}
	return buffer[:size]
}

func give(set func(data, size uint32), data []byte) uint32 {
	set(address(data), uint32(len(data)))
	runtime.KeepAlive(data)
	return 0
}

//go:wasmexport getSupportedTelemetry
func getSupportedTelemetry() uint32 { return 1 | 2 | 4 }

//go:wasmexport processTraces
func processTraces() uint32 { return give(setResultTraces, fetch(currentTraces)) }

//go:wasmexport processMetrics
func processMetrics() uint32 { return give(setResultMetrics, fetch(currentMetrics)) }

//go:wasmexport processLogs
func processLogs() uint32 { return give(setResultLogs, fetch(currentLogs)) }

func main() {}
