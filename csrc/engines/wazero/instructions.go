package main

// walker reads instructions and remembers the highest index of each space that they mention.
type walker struct {
	reader
	vectors, exceptions                               bool     // whether the engine has them on
	long                                              bool     // whether the index of a memory is a number, not a byte
	constants                                         []uint32 // the globals that constant expressions read
	seenFunctions, seenGlobals, seenTypes, seenTables int      // one more than the highest index seen of each
}

func (w *walker) function() { w.seenFunctions = max(w.seenFunctions, int(w.index())+1) }
func (w *walker) global()   { w.seenGlobals = max(w.seenGlobals, int(w.index())+1) }
func (w *walker) table()    { w.seenTables = max(w.seenTables, int(w.index())+1) }
func (w *walker) typeIndex() {
	w.seenTypes = max(w.seenTypes, int(w.index())+1)
}

// valueType passes over a value type: one byte, or a typed reference. wazero does not refuse vectors and exceptions where they
// are off, and accepts references of proposals that it does not implement.
func (w *walker) valueType() {
	switch b := w.byte(); b {
	case typeV128:
		if !w.vectors {
			panic(errType)
		}
	case typeExn:
		if !w.exceptions {
			panic(errType)
		}
	case typeRefNull, typeRef:
		if w.byte() != typeExn || !w.exceptions {
			panic(errType)
		}
	}
}

// heapType passes over the type of a null. The other heap types are of proposals that wazero does not implement; in constant
// expressions it takes their bytes for indexes of types.
func (w *walker) heapType() {
	if b := w.byte(); b != typeFuncref && b != typeExternref && (b != typeExn || !w.exceptions) {
		panic(errType)
	}
}

// blockType passes over the type of a block: nothing, a value type, or a number of 33 bits, which is the index of a type.
func (w *walker) blockType() {
	switch b := w.data[min(w.at, len(w.data)-1)]; {
	case b == 0x40:
		w.byte()
	case b > 0x40 && b < 0x80:
		w.valueType()
	default:
		index := w.signed(33)
		if index < 0 { // a value type is a byte: wazero would take it for one in other forms as well
			panic(errMalformed)
		}
		w.seenTypes = max(w.seenTypes, int(index)+1)
	}
}

// memory passes over the index of a memory where the specification once had a byte that is zero.
func (w *walker) memory() {
	if w.long {
		w.index()
	} else if w.byte() != 0 {
		panic(errMalformed)
	}
}

// memarg passes over the alignment and the offset of an access. In between it may name the memory, which wazero does not know;
// as there is one memory only, the name is left out.
func (w *walker) memarg() {
	begin, before := w.at, len(w.padded)
	if flags := w.index(); flags&0x40 != 0 {
		if !w.long || w.index() != 0 {
			panic(errMalformed)
		}
		w.padded = append(w.padded[:before], number{begin: begin, end: w.at, value: int64(flags &^ 0x40)})
	}
	w.index()
}

// plain passes over the immediates of an instruction of one byte. It returns whether the opcode is known.
func (w *walker) plain(opcode byte) bool {
	switch {
	case opcode <= 0x01, opcode == 0x05, opcode == 0x0a, opcode == 0x0b, opcode == 0x0f, opcode == 0x1a, opcode == 0x1b,
		opcode >= 0x45 && opcode <= 0xc4, opcode == 0xd1, opcode == 0xd3, opcode == 0xd4:
	case opcode == 0x02, opcode == 0x03, opcode == 0x04:
		w.blockType()
	case opcode == 0x08, opcode == 0x0c, opcode == 0x0d, opcode == 0x20, opcode == 0x21, opcode == 0x22,
		opcode == 0xd5, opcode == 0xd6:
		w.index()
	case opcode == 0x3f, opcode == 0x40: // memory.size, memory.grow
		w.memory()
	case opcode == 0x0e: // br_table
		for n := w.count(); n >= 0; n-- {
			w.index()
		}
	case opcode == 0x10, opcode == 0x12, opcode == 0xd2: // call, return_call, ref.func
		w.function()
	case opcode == 0x11, opcode == 0x13: // call_indirect, return_call_indirect
		w.typeIndex()
		w.table()
	case opcode == 0x14, opcode == 0x15: // call_ref, return_call_ref
		w.typeIndex()
	case opcode == 0x1c: // select with types
		for n := w.count(); n > 0; n-- {
			w.valueType()
		}
	case opcode == 0x1f: // try_table
		w.blockType()
		for n := w.count(); n > 0; n-- {
			kind := w.byte()
			if kind > 3 {
				panic(errMalformed)
			}
			if kind < 2 {
				w.index() // the tag
			}
			w.index()
		}
	case opcode == 0x25, opcode == 0x26:
		w.table()
	case opcode == 0x23, opcode == 0x24:
		w.global()
	case opcode >= 0x28 && opcode <= 0x3e:
		w.memarg()
	case opcode == 0x41:
		w.signed(32)
	case opcode == 0x42:
		w.signed(64)
	case opcode == 0x43:
		w.bytes(4)
	case opcode == 0x44:
		w.bytes(8)
	case opcode == 0xd0:
		w.heapType()
	case opcode == 0xfc:
		return w.miscellaneous()
	case opcode == 0xfd:
		return w.vector()
	case opcode == 0xfe:
		return w.atomic()
	default:
		return false
	}
	return true
}

func (w *walker) miscellaneous() bool {
	switch code := w.index(); {
	case code <= 7: // trunc_sat
	case code == 8: // memory.init
		w.index()
		w.memory()
	case code == 10: // memory.copy
		w.memory()
		w.memory()
	case code == 11: // memory.fill
		w.memory()
	case code == 9, code == 13: // data.drop, elem.drop
		w.index()
	case code == 12: // table.init
		w.index()
		w.table()
	case code == 14: // table.copy
		w.table()
		w.table()
	case code >= 15 && code <= 17: // table.grow, table.size, table.fill
		w.table()
	default:
		return false
	}
	return true
}

// vector passes over a vector instruction. wazero reads one byte of the number that follows the prefix, whatever the byte is.
// In its shortest form a number below 0x80 is that byte; one below 0x100 is that byte, and a second one that is 1: wazero takes
// the second for a `nop`. Higher numbers are of a proposal that wazero does not implement.
func (w *walker) vector() bool {
	switch code := w.index(); {
	case code <= 0x0b, code == 0x5c, code == 0x5d:
		w.memarg()
	case code == 0x0c, code == 0x0d:
		w.bytes(16)
	case code >= 0x15 && code <= 0x22:
		w.byte()
	case code >= 0x54 && code <= 0x5b:
		w.memarg()
		w.byte()
	case code <= 0xff:
	default:
		return false
	}
	return true
}

// atomic passes over an atomic instruction. wazero reads one byte of the number here too, and all numbers are below 0x80.
func (w *walker) atomic() bool {
	switch code := w.index(); {
	case code == 3: // atomic.fence
		w.byte()
	case code <= 2, code >= 0x10 && code <= 0x4e:
		w.memarg()
	default:
		return false
	}
	return true
}

// expression passes over a constant expression, its `end` included.
func (w *walker) expression() {
	for depth := 0; ; {
		opcode := w.byte()
		if opcode == 0x0b {
			if depth == 0 {
				return
			}
			depth--
			continue
		}
		if opcode >= 0x02 && opcode <= 0x04 {
			depth++
		}
		begin := w.at
		if !w.plain(opcode) {
			panic(errUnknown)
		}
		if opcode == 0x23 {
			r := reader{data: w.data, at: begin}
			w.constants = append(w.constants, r.index())
		}
	}
}
