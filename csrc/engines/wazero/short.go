package main

// Which functions are short: a call of one ends within some microseconds, whatever its arguments and the state of its instance
// are. Guests that do not poll leave the GIL to other threads for the length of a call, and a short call can do without.
//
// The number of steps of a call is bounded from above. A function without loops runs each of its instructions at most once,
// and a function that it calls at most once for each call that is written in it. So the bound is the sum of both, and it is
// found in a time that is linear in the size of the module, though the calls themselves may be exponentially many: every sum
// ends at `unbounded`. What may take longer than a step, or wait, or run code that is not known, is unbounded: loops, indirect
// calls, imported functions, exceptions, operations in bulk, growth, and atomic operations.

const (
	mostSteps = 4096 // of a short function
	unbounded = mostSteps + 1
)

// extent is what one function does by itself, and the functions that it calls, each as often as a call is written.
type extent struct {
	steps   int
	callees []uint32
}

func (e *extent) add(steps int) {
	e.steps = min(e.steps+min(steps, unbounded), unbounded)
	if e.steps == unbounded {
		e.callees = nil
	}
}

func (t *functionType) arity() int { return len(t.params) + len(t.results) }

// measure adds an instruction, whose immediates are known to be whole. Values that a block or a call passes count as steps,
// since they may have to be moved; so a frame is never larger than its steps allow, either.
func (p *preparation) measure(e *extent, instruction []byte) {
	if e.steps == unbounded {
		return
	}
	e.add(1)
	r := reader{data: instruction}
	switch opcode := r.byte(); {
	case opcode == 0x02, opcode == 0x04: // block, if
		if index := r.signed(33); index >= 0 {
			if index >= int64(len(p.types)) {
				e.add(unbounded)
				return
			}
			e.add(p.types[index].arity())
		}
	case opcode == 0x10, opcode == 0x12: // call, return_call
		index := r.index()
		imports := len(p.functions) - len(p.defined)
		if int(index) < imports || int(index) >= len(p.functions) {
			e.add(unbounded)
			return
		}
		e.callees = append(e.callees, index-uint32(imports))
		e.add(p.functions[index].function.arity())
	case opcode == 0x0e: // br_table, a jump by a table
	case opcode == 0x03, opcode == 0x08, opcode == 0x0a, opcode == 0x1f, opcode == 0x40, opcode == 0xfe,
		opcode == 0x11, opcode >= 0x13 && opcode <= 0x15:
		e.add(unbounded)
	case opcode == 0xfc:
		switch code := r.index(); {
		case code <= 7, code == 9, code == 13, code == 16: // trunc_sat, data.drop, elem.drop, table.size
		default:
			e.add(unbounded)
		}
	}
}

// bounds are the most steps of a call of each function.
func bounds(extents []extent) []int {
	found := make([]int, len(extents)) // 0: not yet known
	type visit struct {
		function uint32
		next     int // of its callees
	}
	var path []visit
	enter := func(function uint32) {
		found[function] = unbounded // while it is on the path, so that whoever calls it in a circle is unbounded
		path = append(path, visit{function: function})
	}
	for root := range extents {
		if found[root] == 0 {
			enter(uint32(root))
		}
		for len(path) > 0 {
			at := &path[len(path)-1]
			own := &extents[at.function]
			if at.next < len(own.callees) {
				at.next++
				if callee := own.callees[at.next-1]; found[callee] == 0 {
					enter(callee)
				}
				continue
			}
			sum := max(own.steps, 1)
			for _, callee := range own.callees {
				sum = min(sum+found[callee], unbounded)
			}
			found[at.function] = sum
			path = path[:len(path)-1]
		}
	}
	return found
}

// markShort notes which of the module's own functions are short.
func (p *preparation) markShort(extents []extent) {
	defined := p.functions[len(p.functions)-len(extents):]
	for n, steps := range bounds(extents) {
		defined[n].short = steps <= mostSteps
	}
}
