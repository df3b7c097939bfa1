package main

// What is added to a prepared module: the function by which it polls, those that grow its tables, and the one that runs its
// start function, with their types, globals and exports. Each addition follows the module's own items in its section.

// additions are items to be appended to the sections of a module.
type additions struct {
	items map[byte][][]byte
}

func (a *additions) add(section byte, item []byte) {
	if a.items == nil {
		a.items = map[byte][][]byte{}
	}
	a.items[section] = append(a.items[section], item)
}

// writeMissing writes the sections that have additions and that the module lacks, of the ranks between two, both excluded.
func (a *additions) writeMissing(out *writer, after, before int, there map[byte][2]int) {
	for _, id := range []byte{sectionType, sectionFunction, sectionTable, sectionGlobal, sectionExport, sectionCode} {
		if _, own := there[id]; !own && len(a.items[id]) > 0 && rank(id) > after && rank(id) < before {
			out.section(id, appended([]byte{0}, a.items[id]))
		}
	}
}

// appended is a vector with more items.
func appended(content []byte, items [][]byte) []byte {
	if len(items) == 0 {
		return content
	}
	r := reader{data: content}
	n := uint64(r.index())
	w := &writer{}
	w.uleb(n + uint64(len(items)))
	w.bytes(content[r.at:])
	for _, each := range items {
		w.bytes(each)
	}
	return w.data
}

// addFunction adds a function of a type of its own. It returns the function's index.
func (p *preparation) addFunction(params, results []byte, code ...byte) uint32 {
	w := &writer{}
	w.uleb(uint64(len(p.types) + len(p.added.items[sectionType])))
	p.added.add(sectionType, functionTypeItem(params, results))
	index := uint32(len(p.functions) + len(p.added.items[sectionFunction]))
	p.added.add(sectionFunction, w.data)
	p.added.add(sectionCode, bodyItem(code...))
	return index
}

// addGlobal adds a mutable i32. It returns its index.
func (p *preparation) addGlobal(value int64) uint32 {
	w := &writer{}
	w.byte(typeI32, 1, 0x41)
	w.sleb(value)
	w.byte(0x0b)
	return p.defineGlobal(w.data)
}

// addReference adds a mutable funcref, null at first.
func (p *preparation) addReference() uint32 {
	return p.defineGlobal([]byte{typeFuncref, 1, 0xd0, typeFuncref, 0x0b})
}

func (p *preparation) defineGlobal(definition []byte) uint32 {
	p.added.add(sectionGlobal, definition)
	return uint32(len(p.globals) + len(p.added.items[sectionGlobal]) - 1)
}

// addExport exports something under a name that begins as given and that the module does not use.
func (p *preparation) addExport(name string, kind byte, index uint32) string {
	for {
		if _, used := p.exports[name]; !used {
			p.added.add(sectionExport, exportItem(name, kind, int(index)))
			return name
		}
		name += "'"
	}
}

// addPolling adds the counter and the function that resets it and polls: through a table of its own, it calls the function
// that the host puts into a global. It returns the code that counts down.
func (p *preparation) addPolling() []byte {
	p.counter = p.addGlobal(pollInterval)
	counter, function, table := uint64(p.counter), p.addReference(), uint64(len(p.tables))
	p.added.add(sectionTable, []byte{typeFuncref, 1, 1, 1})
	p.poll = p.addExport("poll", kindGlobal, function)
	w := &writer{}
	w.byte(0x41)
	w.sleb(pollInterval)
	w.byte(0x24)
	w.uleb(counter)
	w.byte(0x41, 0, 0x23)
	w.uleb(uint64(function))
	w.byte(0x26) // table.set
	w.uleb(table)
	w.byte(0x41, 0, 0x11) // call_indirect
	w.uleb(uint64(len(p.types) + len(p.added.items[sectionType])))
	w.uleb(table)
	poll := p.addFunction(nil, nil, w.data...)
	call := &writer{}
	call.byte(0x10)
	call.uleb(uint64(poll))
	p.pollCall = call.data
	check := &writer{}
	check.byte(0x23)
	check.uleb(counter)
	check.byte(0x41, 1, 0x6b, 0x24)
	check.uleb(counter)
	check.byte(0x23)
	check.uleb(counter)
	check.byte(0x41, 0, 0x4c, 0x04, 0x40) // or below zero: a guest that was stopped has not reset it
	check.bytes(p.pollCall)
	check.byte(0x0b)
	return check.data
}

// addStart exports the start function, through a function of ours, since it may be a host function.
func (p *preparation) addStart() {
	for _, index := range p.starts {
		w := &writer{}
		w.byte(0x10)
		w.uleb(uint64(index))
		p.start = p.addExport("start", kindFunction, p.addFunction(nil, nil, w.data...))
	}
}

// replacement is the code that replaces an instruction in the prepared module, or nil where the instruction stays.
func (p *preparation) replacement(instruction []byte) []byte {
	r := reader{data: instruction}
	w := &writer{}
	switch r.byte() {
	case 0x1c: // select with types
		// wazero asks whether it knows the type, and does not use it: it selects by the types of the operands. It refuses
		// exnref, and of a typed reference its compilers take the second byte for an instruction.
		if n, last := r.count(), instruction[len(instruction)-1]; n == 1 && last == typeExn {
			return []byte{0x1c, 1, typeFuncref}
		}
	case 0xfc:
		switch code := r.index(); code {
		case 8, 10, 11, 12, 14, 17: // init, copy and fill
			if p.pollCall != nil {
				return p.weighed(instruction)
			}
		case 15: // table.grow
			w.byte(0x10)
			w.uleb(uint64(p.grower(r.index())))
			return w.data
		}
	case 0xfe:
		if code := r.index(); p.pollCall != nil && (code == 1 || code == 2) { // memory.atomic.wait
			w.bytes(instruction)
			w.bytes(p.pollCall)
			return w.data
		}
	}
	return nil
}

// weighed is a bulk operation that counts down by one for each 4 KiB, or 4096 elements.
func (p *preparation) weighed(instruction []byte) []byte {
	if p.size == nil {
		p.size = []uint32{p.addGlobal(0)}
	}
	size, counter := uint64(p.size[0]), uint64(p.counter)
	w := &writer{}
	w.byte(0x24)
	w.uleb(size)
	w.byte(0x23)
	w.uleb(size)
	w.bytes(instruction)
	w.byte(0x23)
	w.uleb(counter)
	w.byte(0x23)
	w.uleb(size)
	w.byte(0x41, 12, 0x76, 0x6b, 0x24) // shifted right, and subtracted
	w.uleb(counter)
	return w.data
}

// grower is the function that does what `table.grow` does, within the limit that the store sets: the engine itself knows only
// the table's own maximum.
func (p *preparation) grower(table uint32) uint32 {
	if known, ok := p.growers[table]; ok {
		return known
	}
	if int(table) >= len(p.tables) {
		panic(errMalformed)
	}
	if p.limit == "" {
		p.limitIndex = p.addGlobal(0)
		p.limit = p.addExport("limit", kindGlobal, p.limitIndex)
	}
	w := &writer{}
	w.byte(0x20, 1, 0x23)
	w.uleb(uint64(p.limitIndex))
	w.byte(0xfc, 0x10) // table.size
	w.uleb(uint64(table))
	w.byte(0x6b, 0x4b, 0x04, typeI32, 0x41, 0x7f, 0x05, 0x20, 0, 0x20, 1, 0xfc, 0x0f) // more than is left ? -1 : table.grow
	w.uleb(uint64(table))
	w.byte(0x0b)
	index := p.addFunction([]byte{p.tables[table].content, typeI32}, []byte{typeI32}, w.data...)
	p.growers[table] = index
	return index
}
