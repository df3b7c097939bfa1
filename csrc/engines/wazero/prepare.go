package main

import (
	"errors"
	"strconv"
)

// errUnknown: the module has something that this file cannot read. The engine supplies the message.
var errUnknown = errors.New("the module has an instruction or a section that is not known here")

// errDeep: the engine would compile the module, but in a time that grows with the square of the depth.
var errDeep = errors.New("implementation-limit: wazero takes blocks in blocks to a depth of 10000 here")

const deepest = 10_000

// After how many loop iterations and calls a guest polls: 20 microseconds of the tightest loop, some milliseconds when
// interpreted.
const pollInterval = 1 << 14

// The module under which a prepared module imports everything; the fields are the numbers of the imports.
const linkModule = "l"

// export is one export of a module.
type export struct {
	kind  byte
	index uint32
}

// shape is the knowledge of a module that is needed to link it and to describe its exports.
type shape struct {
	types     []functionType
	imports   []external
	functions []external // the whole index space, like the next four
	tables    []external
	memories  []external
	globals   []external
	tags      []external
	exports   map[string]export
	title     string            // of the module, from the name section
	names     map[uint32]string // of functions, from the name section
	poll      string            // the export of the global with the function by which the guest polls, if it does
	start     string            // the export that runs the start function, where there is one
	limit     string            // the export of the global that bounds the tables, where the module grows any
	active    []activeElements  // those whose offset is a plain number
}

// activeElements is an element segment that is put into a table when the module is instantiated.
type activeElements struct {
	table uint32
	end   uint64 // of the last element
}

func (s *shape) space(kind byte) *[]external {
	return [...]*[]external{&s.functions, &s.tables, &s.memories, &s.globals, &s.tags}[kind]
}

// preparation reads a module and writes the form that the engine gets.
type preparation struct {
	walker
	*shape
	sections   map[byte][2]int // where the content of each lies
	contents   map[byte][]byte // of those that are not as they were
	order      []byte
	defined    []uint32          // the types of the defined functions
	starts     []uint32          // the start function, where there is one
	growers    map[uint32]uint32 // the functions that grow the tables, by the numbers of the tables
	limitIndex uint32            // of the global that bounds them
	counter    uint32            // the global that is counted down
	size       []uint32          // the global for the size of a bulk operation, where there is one
	pollCall   []byte            // the code that polls
	added      additions
	number     uint64   // of the module, to be shown in traces
	extents    []extent // of the defined functions, where guests do not poll
	polls      bool
}

// prepare reads a module. It returns what is known of it, and the form that the engine is to compile:
//
//   - the imports are renamed, so that each can be linked by its number, whatever its names are;
//   - where the engine polls, each loop and each function that calls counts down and polls when it comes to zero;
//   - `table.grow` is a call of a function that looks at the limit of the store first;
//   - the start function is an export, so that the instance is known, and stays, whatever comes of its start;
//   - custom sections are left out, and a name section with `number` added, so that traces tell the module;
//   - numbers are in their shortest form, as wazero reads one byte of some. What it would read otherwise than this file does
//     could hide a loop that does not poll, or a table that grows without limit.
//
// A malformed or unknown part is an error: then the engine decides about the module as it was given.
func (e *engine) prepare(data []byte, number uint64) (found *shape, prepared []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			if known, ok := r.(error); ok && (errors.Is(known, errMalformed) || errors.Is(known, errUnknown) || errors.Is(known, errDeep) || errors.Is(known, errType)) {
				err = known
				return
			}
			panic(r)
		}
	}()
	p := &preparation{
		walker:   walker{reader: reader{data: data}, vectors: e.vectors, exceptions: e.exceptions, long: e.long},
		shape:    &shape{exports: map[string]export{}, names: map[uint32]string{}},
		sections: map[byte][2]int{},
		contents: map[byte][]byte{},
		growers:  map[uint32]uint32{},
		number:   number,
		polls:    e.polls,
	}
	p.readSections()
	p.readTypes()
	p.readImports()
	p.readDefinitions()
	p.readExports()
	return p.shape, p.write(), nil
}

func (p *preparation) readSections() {
	if string(p.bytes(8)) != "\x00asm\x01\x00\x00\x00" {
		panic(errMalformed)
	}
	for p.at < len(p.data) {
		id := p.byte()
		size := int(p.index())
		begin := p.at
		p.bytes(size)
		if id == sectionCustom {
			content := reader{data: p.data[begin:p.at]}
			if content.name() == "name" {
				p.readNames(content)
			}
			continue
		}
		if _, twice := p.sections[id]; twice || id > sectionTag {
			panic(errMalformed)
		}
		p.sections[id] = [2]int{begin, p.at}
		p.order = append(p.order, id)
	}
	p.padded = p.padded[:0]
}

// readNames keeps the functions' names; a broken name section gives none.
func (p *preparation) readNames(r reader) {
	defer func() {
		if r := recover(); r != nil && r != errMalformed {
			panic(r)
		}
	}()
	for r.at < len(r.data) {
		id := r.byte()
		part := reader{data: r.bytes(r.count())}
		if id == 0 {
			p.title = part.name()
		}
		if id != 1 {
			continue
		}
		for n := part.count(); n > 0; n-- {
			index := part.index()
			p.names[index] = part.name()
		}
	}
}

// enter goes to a section's content. It returns the number of its items, 0 where there is no such section.
func (p *preparation) enter(id byte) int {
	place, there := p.sections[id]
	if !there {
		return 0
	}
	p.at, p.padded = place[0], p.padded[:0]
	return p.count()
}

// leave ends the reading of a section, which must end here too.
func (p *preparation) leave(id byte) {
	place, there := p.sections[id]
	if !there {
		return
	}
	if p.at != place[1] {
		panic(errMalformed)
	}
	if len(p.padded) > 0 {
		p.contents[id] = p.shortest(nil, place[0], place[1])
		p.padded = p.padded[:0]
	}
}

func (p *preparation) readTypes() {
	for n := p.enter(sectionType); n > 0; n-- {
		if p.byte() != 0x60 {
			panic(errUnknown)
		}
		p.types = append(p.types, functionType{p.valueTypes(), p.valueTypes()})
	}
	p.leave(sectionType)
}

func (p *preparation) valueTypes() []byte {
	types := make([]byte, 0, 4)
	for n := p.count(); n > 0; n-- {
		types = append(types, p.oneType())
	}
	return types
}

// oneType reads a value type and returns its first byte; of a typed reference no more is kept.
func (p *preparation) oneType() byte {
	b := p.data[min(p.at, len(p.data)-1)]
	p.valueType()
	return b
}

func (p *preparation) typeAt(index uint32) *functionType {
	if int(index) >= len(p.types) {
		panic(errMalformed)
	}
	return &p.types[index]
}

func (p *preparation) external(kind byte) external {
	switch kind {
	case kindFunction:
		return external{kind: kind, function: p.typeAt(p.index())}
	case kindTable:
		content := p.oneType()
		return external{kind: kind, content: content, limits: p.limits()}
	case kindMemory:
		return external{kind: kind, limits: p.limits()}
	case kindGlobal:
		content := p.oneType()
		return external{kind: kind, content: content, mutable: p.byte() == 1}
	case kindTag:
		p.byte()
		return external{kind: kind, function: p.typeAt(p.index())}
	}
	panic(errMalformed)
}

func (p *preparation) readImports() {
	for n := p.enter(sectionImport); n > 0; n-- {
		p.name()
		p.name()
		kind := p.byte()
		found := p.external(kind)
		p.imports = append(p.imports, found)
		space := p.space(kind)
		*space = append(*space, found)
	}
	p.leave(sectionImport)
}

func (p *preparation) readDefinitions() {
	for n := p.enter(sectionFunction); n > 0; n-- {
		index := p.index()
		p.defined = append(p.defined, index)
		p.functions = append(p.functions, external{kind: kindFunction, function: p.typeAt(index)})
	}
	p.leave(sectionFunction)
	for n := p.enter(sectionTable); n > 0; n-- {
		if p.data[min(p.at, len(p.data)-1)] == 0x40 { // with an initial value
			panic(errUnknown)
		}
		p.tables = append(p.tables, p.external(kindTable))
	}
	p.leave(sectionTable)
	for n := p.enter(sectionMemory); n > 0; n-- {
		p.memories = append(p.memories, p.external(kindMemory))
	}
	p.leave(sectionMemory)
	if len(p.memories) > 1 {
		panic(errType)
	}
	for n := p.enter(sectionTag); n > 0; n-- {
		p.tags = append(p.tags, p.external(kindTag))
	}
	p.leave(sectionTag)
	for n := p.enter(sectionGlobal); n > 0; n-- {
		p.globals = append(p.globals, p.external(kindGlobal))
		p.expression()
	}
	p.leave(sectionGlobal)
}

func (p *preparation) readExports() {
	for n := p.enter(sectionExport); n > 0; n-- {
		name := p.name()
		kind := p.byte()
		index := p.index()
		if kind > kindTag || int(index) >= len(*p.space(kind)) {
			panic(errMalformed)
		}
		p.exports[name] = export{kind, index}
	}
	p.leave(sectionExport)
	if place, there := p.sections[sectionStart]; there {
		p.at = place[0]
		p.starts = []uint32{p.index()}
		p.leave(sectionStart)
		if int(p.starts[0]) >= len(p.functions) {
			panic(errMalformed)
		}
	}
}

// write gives the module's new form. An invalid index beyond the end of an index space must not become valid by an addition,
// so a module with such an index is left to the engine.
func (p *preparation) write() []byte {
	p.polls = p.polls && len(p.defined) > 0
	var check []byte
	if p.polls {
		check = p.addPolling()
	}
	if _, there := p.sections[sectionCode]; there {
		p.contents[sectionCode] = p.writeCode(check)
	}
	p.readElements()
	p.readData()
	if p.seenFunctions > len(p.functions) || p.seenGlobals > len(p.globals) || p.seenTypes > len(p.types) || p.seenTables > len(p.tables) {
		panic(errMalformed)
	}
	for _, each := range p.constants {
		if p.globals[each].mutable {
			panic(errType)
		}
	}
	if check == nil {
		p.markShort(p.extents)
	}
	p.addStart()
	out := &writer{data: append(make([]byte, 0, len(p.data)+len(p.data)/8+64), p.data[:8]...)}
	before := 0
	for _, id := range p.order {
		if id == sectionStart {
			continue
		}
		p.added.writeMissing(out, before, rank(id), p.sections)
		before = rank(id)
		content, changed := p.contents[id]
		if id == sectionImport {
			content = p.writeImports()
		} else if !changed {
			content = p.data[p.sections[id][0]:p.sections[id][1]]
		}
		out.section(id, appended(content, p.added.items[id]))
	}
	p.added.writeMissing(out, before, 1<<10, p.sections)
	names := &writer{}
	names.name("name")
	module := &writer{}
	module.name("m" + strconv.FormatUint(p.number, 10))
	names.section(0, module.data)
	out.section(sectionCustom, names.data)
	return out.data
}

// rank is a section's place in the order that a module's sections have.
func rank(id byte) int {
	switch id {
	case sectionTag:
		return 2*sectionMemory + 1
	case sectionDataCount:
		return 2*sectionElement + 1
	}
	return 2 * int(id)
}

func (p *preparation) writeImports() []byte {
	w := &writer{}
	n := p.enter(sectionImport)
	w.uleb(uint64(n))
	for i := range n {
		p.name()
		p.name()
		begin := p.at
		p.padded = p.padded[:0]
		p.external(p.byte())
		w.name(linkModule)
		w.name(strconv.Itoa(i))
		w.data = p.shortest(w.data, begin, p.at)
	}
	return w.data
}

func (p *preparation) writeCode(check []byte) []byte {
	n := p.enter(sectionCode)
	if n != len(p.defined) {
		panic(errMalformed)
	}
	out := &writer{data: make([]byte, 0, len(p.data))}
	out.uleb(uint64(n))
	p.padded = p.padded[:0]
	body := &writer{}
	for ; n > 0; n-- {
		size := p.index()
		end := p.at + int(size)
		if end > len(p.data) {
			panic(errMalformed)
		}
		body.data, p.padded = body.data[:0], p.padded[:0]
		p.writeBody(body, end, check)
		out.uleb(uint64(len(body.data)))
		out.bytes(body.data)
	}
	p.leave(sectionCode)
	return out.data
}

// writeBody writes one function, with `check` behind each `loop` and, where the function calls, at its beginning. After a
// wait on a shared memory the guest polls, and a bulk operation counts for as many loop iterations as it takes time.
func (p *preparation) writeBody(out *writer, end int, check []byte) {
	copied := p.at
	var own extent
	for n := p.count(); n > 0; n-- {
		own.add(2 * int(p.index())) // each is set to zero, a vector in two steps
		p.valueType()
	}
	if len(p.padded) > 0 {
		out.data = p.shortest(out.data, copied, p.at)
		copied, p.padded = p.at, p.padded[:0]
	}
	start := len(out.data) + p.at - copied
	calls := false
	for depth := 1; depth > 0; {
		begin := p.at
		opcode := p.byte()
		switch {
		case opcode == 0x0b:
			depth--
		case opcode >= 0x02 && opcode <= 0x04, opcode == 0x1f:
			depth++
			if depth > deepest {
				panic(errDeep)
			}
		case opcode >= 0x10 && opcode <= 0x15:
			calls = true
		}
		if !p.plain(opcode) {
			panic(errUnknown)
		}
		instruction := p.data[begin:p.at]
		padded := len(p.padded) > 0
		if padded {
			instruction = p.shortest(nil, begin, p.at)
		}
		if check == nil {
			p.measure(&own, instruction)
		}
		changed := p.replacement(instruction)
		if changed == nil && padded {
			changed = instruction
		}
		if changed != nil {
			out.bytes(p.data[copied:begin])
			out.bytes(changed)
			copied = p.at
		}
		if opcode == 0x03 && check != nil {
			out.bytes(p.data[copied:p.at])
			out.bytes(check)
			copied = p.at
		}
		p.padded = p.padded[:0]
		if p.at > end {
			panic(errMalformed)
		}
	}
	if p.at != end {
		panic(errMalformed)
	}
	out.bytes(p.data[copied:end])
	p.extents = append(p.extents, own)
	if calls && check != nil {
		tail := append([]byte(nil), out.data[start:]...)
		out.data = append(append(out.data[:start], check...), tail...)
	}
}

func (p *preparation) readElements() {
	for n := p.enter(sectionElement); n > 0; n-- {
		flags := p.index()
		if flags > 7 {
			panic(errMalformed)
		}
		var table uint32
		offset := int64(-1)
		if flags&1 == 0 { // active
			if flags&2 != 0 {
				table = p.index()
			}
			p.seenTables = max(p.seenTables, int(table)+1)
			offset = p.plainOffset()
		}
		if flags&3 != 0 {
			if flags&4 != 0 {
				p.valueType()
			} else {
				p.byte()
			}
		}
		items := p.count()
		if offset >= 0 {
			p.active = append(p.active, activeElements{table, uint64(offset) + uint64(items)})
		}
		for ; items > 0; items-- {
			if flags&4 != 0 {
				p.expression()
			} else {
				p.function()
			}
		}
	}
	p.leave(sectionElement)
}

// plainOffset passes over a constant expression. It returns the value that a lone i32.const pushes, else -1.
func (p *preparation) plainOffset() int64 {
	begin := p.at
	p.expression()
	r := reader{data: p.data[begin:p.at]}
	if r.byte() != 0x41 {
		return -1
	}
	value := int64(uint32(r.signed(32)))
	if r.at != len(r.data)-1 {
		return -1
	}
	return value
}

func (p *preparation) readData() {
	for n := p.enter(sectionData); n > 0; n-- {
		flags := p.index()
		if flags == 2 {
			p.index()
		}
		if flags != 1 {
			p.expression()
		}
		p.bytes(p.count())
	}
	p.leave(sectionData)
}
