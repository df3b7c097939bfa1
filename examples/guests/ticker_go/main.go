// A receiver in Go, built the way upstream's are: goroutines, a context that ends when the host asks for shutdown, and
// results set from a goroutine. It gives one span a tick.
//
//	plugin_config: {"interval_ms": 10}
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"time"
	"unsafe"
)

//go:wasmimport opentelemetry.io/wasm getPluginConfig
func getPluginConfig(buffer, limit uint32) uint32

//go:wasmimport opentelemetry.io/wasm getShutdownRequested
func getShutdownRequested() uint32

//go:wasmimport opentelemetry.io/wasm setResultTraces
func setResultTraces(data, size uint32)

//go:wasmimport opentelemetry.io/wasm logMessage
func logMessage(data, size uint32)

func address(data []byte) uint32 {
	return uint32(uintptr(unsafe.Pointer(unsafe.SliceData(data))))
}

func log(message string, fields map[string]string) {
	data, _ := json.Marshal(map[string]any{"level": 0, "message": message, "fields": fields})
	logMessage(address(data), uint32(len(data)))
	runtime.KeepAlive(data)
}

func field(number byte, content []byte) []byte {
	return append([]byte{number<<3 | 2, byte(len(content))}, content...) // all of them are short
}

// span is TracesData with one span of the given name.
func span(name string) []byte {
	return field(1, field(2, field(2, field(5, []byte(name)))))
}

func give(data []byte) {
	setResultTraces(address(data), uint32(len(data)))
	runtime.KeepAlive(data)
}

//go:wasmexport getSupportedTelemetry
func getSupportedTelemetry() uint32 { return 4 }

//go:wasmexport startTracesReceiver
func startTracesReceiver() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { // as upstream's guest SDK asks the host, but more often
		ticker := time.NewTicker(20 * time.Millisecond)
		defer ticker.Stop()
		for range ticker.C {
			if getShutdownRequested() != 0 {
				cancel()
				return
			}
		}
	}()

	buffer := make([]byte, 4096)
	var config struct {
		IntervalMs int `json:"interval_ms"`
	}
	size := getPluginConfig(address(buffer), uint32(len(buffer)))
	if err := json.Unmarshal(buffer[:size], &config); err != nil || config.IntervalMs <= 0 {
		config.IntervalMs = 1000
	}
	log("ticking", map[string]string{"interval_ms": fmt.Sprint(config.IntervalMs)})
	spans := make(chan []byte)
	go func() {
		for n := 0; ; n++ {
			select {
			case spans <- span(fmt.Sprintf("tick %d", n)):
				time.Sleep(time.Duration(config.IntervalMs) * time.Millisecond)
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		select {
		case data := <-spans:
			give(data)
		case <-ctx.Done():
			log("stopped", nil)
			return
		}
	}
}

func main() {}
