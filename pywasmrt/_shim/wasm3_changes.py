"""What the build changes in wasm3's sources, and why; used by build_wasm3.py, of no use in an installed package.

Each substitution must match as often as it says (once, as a rule) in each version that it is for. So sources that they
do not fit fail the build instead of making an engine without its guards.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CHECKED", "SUBSTITUTIONS", "Substitution"]

CHECKED = ("0.5.0", "0.9.0")
"""The versions that the substitutions, and `csrc/engines/wasm3/internals.h`, were written for."""


@dataclass(frozen=True)
class Substitution:
    """Replaces what `pattern` matches in `file`, `times` times, by `text`; `why` gives the reason."""

    file: str
    pattern: str
    text: str
    why: str
    versions: tuple[str, ...] = CHECKED
    times: int = 1


def _index_of(function: str, what: str, versions: tuple[str, ...] = CHECKED) -> Substitution:
    """Has `function` of wasm3's compiler read an index where it reads one reserved byte."""
    return Substitution(
        "m3_compile.c",
        rf"(?s)(\nM3Result  {function}  \((?:.(?!\n\}}))*?)"
        r"\n    i8 reserved;\n_ +\(ReadLEB_i7 \(& reserved, & o->wasm, o->wasmEnd\)\);",
        r"\1\n    u32 reserved;\n_   (ReadLEB_u32 (& reserved, & o->wasm, o->wasmEnd));",
        f"{what} may be written longer than in one byte",
        versions,
    )


# One set for all the versions that were checked; the patterns cover what differs between them.
SUBSTITUTIONS = (
    Substitution(
        "m3_config.h",
        r"#define m3_config_h\n",
        "#define m3_config_h\n\n"
        # Compiled programs need more than the usual 2000; with more than 8000, 0.5.0 counts a function's locals in 16
        # bits that overflow.
        "#define d_m3MaxFunctionStackHeight 8000\n"
        # 65536 pages would be 2**32 bytes, which 0.5.0 counts in 32 bits.
        "#define d_m3MaxLinearMemoryPages 65535\n"
        # The guard in 0.9.0 takes every stack for one of 8 MiB; our own asks for the stack of the running thread.
        "#define d_m3MaxNativeStack 0\n",
        "limits that are the same in every file",
    ),
    Substitution(
        "m3_core.h",
        r"(    size_t +length;\n)\}\nM3MemoryHeader;",
        r"\1"
        "    uintptr_t       wrt_floor;\n"
        "    const size_t *  wrt_ticks;\n"
        "    size_t          wrt_seen;\n"
        "}\nM3MemoryHeader;\n\n"
        "int wrt_wasm3_poll (M3MemoryHeader * i_memory, void * i_frame);\n"
        "const void * wrt_wasm3_stop (M3MemoryHeader * i_memory);\n"
        "int wrt_wasm3_copy (M3MemoryHeader * i_memory, void * i_frame, u8 * o_to, const u8 * i_from, size_t i_size);\n"
        "int wrt_wasm3_fill (M3MemoryHeader * i_memory, void * i_frame, u8 * o_to, u8 i_byte, size_t i_size);\n"
        "void * wrt_wasm3_memory (struct M3Runtime * i_runtime, size_t i_size);\n"
        "int wrt_wasm3_no_stack (void);\n"
        "const uint8_t * wrt_wasm3_skip (const uint8_t * i_at, const uint8_t * i_end);\n"
        "#define wrt_wasm3_not_ticked(MEM, SP) (__builtin_expect "
        "(__atomic_load_n ((MEM)->wrt_ticks, __ATOMIC_RELAXED) == (MEM)->wrt_seen, 1) || wrt_wasm3_poll (MEM, SP))\n"
        "#define wrt_wasm3_goes_on(MEM, SP) (__builtin_expect "
        "((uintptr_t) __builtin_frame_address (0) >= (MEM)->wrt_floor, 1) && wrt_wasm3_not_ticked (MEM, SP))\n",
        "the lowest address that the native stack may reach, and the ticks by which guests poll their host",
    ),
    Substitution(
        "m3_exec.h",
        r"if \(((?:M3_)?LIKELY) \(\(void \*\) \(_sp \+ function->maxStackSlots\) < _mem->maxStack\)\)",
        r"if (\1 ((void *) (_sp + function->maxStackSlots) < _mem->maxStack and wrt_wasm3_goes_on (_mem, _sp)))",
        "a call polls, and ends where no native stack is left",
    ),
    Substitution(
        "m3_exec.h",
        r"else newTrap \(m3Err_trapStackOverflow\);",
        "else newTrap (wrt_wasm3_stop (_mem));",
        "why the call ended",
    ),
    Substitution(
        "m3_exec.h",
        r"\n    m3ret_t r;\n\n    IM3Memory memory = m3MemInfo \(_mem\);\n\n    do\n",
        "\n    m3ret_t r;\n\n    IM3Memory memory = m3MemInfo (_mem);\n"
        "\n    if (not wrt_wasm3_goes_on (_mem, _sp)) newTrap (wrt_wasm3_stop (_mem));\n    do\n",
        "a loop within loops takes native stack too",
    ),
    Substitution(
        "m3_exec.h",
        r"\n    \}\n    while \(r == _pc\);",
        "\n    }\n    while (r == _pc and wrt_wasm3_not_ticked (_mem, _sp));"
        "\n\n    if (r == _pc) newTrap (wrt_wasm3_stop (_mem));",
        "every turn of a loop polls",
    ),
    Substitution(
        "m3_exec.h",
        r"\bmemmove \(dst, src, size\);",
        "if (not wrt_wasm3_copy (_mem, _sp, dst, src, size)) newTrap (wrt_wasm3_stop (_mem));",
        "a large copy is done in pieces, and polls between them",
    ),
    Substitution(
        "m3_exec.h",
        r"\bmemset \(mem8, \(u8\) byte, size\);",
        "if (not wrt_wasm3_fill (_mem, _sp, mem8, (u8) byte, size)) newTrap (wrt_wasm3_stop (_mem));",
        "the same for a large fill",
    ),
    Substitution(
        "m3_code.c",
        r"static u32 s_sequence = 0;",
        "static _Thread_local u32 s_sequence = 0;",
        "modules are compiled in several threads at once",
        ("0.5.0",),
    ),
    Substitution(
        "m3_env.c",
        r'm3_Realloc \((?:"Wasm Linear Memory", )?memory->mallocated, numBytes, numPreviousBytes\)',
        "wrt_wasm3_memory (io_runtime, numBytes)",
        "memory grows in reserved address space, and so never moves",
    ),
    Substitution(
        "m3_compile.c",
        r"\n    M3CompilationScope outerScope = o->block;",
        "\n    if (wrt_wasm3_no_stack ()) return m3Err_functionStackOverflow;"
        "\n    M3CompilationScope outerScope = o->block;",
        "blocks are compiled by recursion, and a valid module may nest them without end",
    ),
    # The register of floats is a double. wasm3 widens each f32 in it, which makes a signaling NaN a quiet one; here the
    # lower half of the register holds the bits of the f32. `REG` and its like stand for the register of integers as
    # well, hence the choice by type.
    Substitution(
        "m3_exec.h",
        r"\n(# define slot_ptr\(TYPE\)[^\n]*\n)",
        "\n\\1"
        """
static inline f32 wrt_f32_in (f64 i_register)
{
    u64 bits;
    memcpy (& bits, & i_register, sizeof (bits));
    u32 low = (u32) bits;
    f32 value;
    memcpy (& value, & low, sizeof (value));
    return value;
}

static inline f64 wrt_f32_as_register (f32 i_value)
{
    u32 low;
    memcpy (& low, & i_value, sizeof (low));
    u64 bits = low;
    f64 value;
    memcpy (& value, & bits, sizeof (value));
    return value;
}

# define wrt_in(TYPE, REG)          _Generic ((TYPE) 0, f32: wrt_f32_in (REG), default: (TYPE) (REG))
# define wrt_as_register(VALUE)     _Generic ((VALUE), f32: wrt_f32_as_register (VALUE), default: (VALUE))

// A NaN that an operation gives is quiet, and compilers that write out these functions may leave it as it was.
# define wrt_rounding(TYPE, FUNCTION) \\
static inline TYPE wrt_##FUNCTION (TYPE i_value) { return i_value != i_value ? i_value + i_value : FUNCTION (i_value); }

wrt_rounding (f32, ceilf)   wrt_rounding (f32, floorf)   wrt_rounding (f32, truncf)   wrt_rounding (f32, rintf)
wrt_rounding (f64, ceil)    wrt_rounding (f64, floor)    wrt_rounding (f64, trunc)    wrt_rounding (f64, rint)
""",
        "how an f32 is read from the register of floats, and written to it",
    ),
    Substitution(
        "m3_exec.h",
        r"\((TYPE|FROM|DEST_TYPE)\) (REG|SRC|REG_FROM)\b",
        r"wrt_in (\1, \2)",
        "every operation that reads a register",
        times=18,
    ),
    Substitution(
        "m3_exec.h",
        r"\b(REG|REG_TO) = ([^;\n]*);",
        r"\1 = wrt_as_register (\2);",
        "every operation that writes a register",
        times=16,
    ),
    Substitution(
        "m3_exec.h",
        r"\n(#define M3_(?:FUNC|OPER|UNARY)\(RES, [^)]*\) +)\(RES\) = (OP\(X\)|OP\(\(A\), \(B\)\)|\(\(A\) OP \(B\)\))",
        r"\n\1(RES) = wrt_as_register (\2)",
        "every operator and function with one result",
        times=3,
    ),
    Substitution(
        "m3_exec.h",
        r"\bd_m3UnaryOp_f \((f32|f64), (Ceil|Floor|Trunc|Nearest), +(\w+)\)",
        r"d_m3UnaryOp_f (\1, \2, wrt_\3)",
        "every rounding, whose operand is no longer made quiet before",
        times=8,
    ),
    Substitution(
        "m3_exec.h",
        r"(\n    f32 \* global = immediate \(f32 \*\);\n    \* global = )_fp0;",
        r"\1wrt_f32_in (_fp0);",
        "an f32 from the register to a global",
    ),
    # What both versions compile wrongly. The compiler counts the uses of each stack slot, and blocks rely on the
    # counts.
    Substitution(
        "m3_compile.c",
        r"\n_ +\(IncrementSlotUsageCount \(o, \* o_preservedSlotNumber\)\);\n",
        "\n                for (u16 n = 0; n < GetTypeNumSlots (GetStackTypeFromBottom (o, i)); ++n)"
        "\n_                   (IncrementSlotUsageCount (o, * o_preservedSlotNumber + n))\n",
        "of a value of 64 bits, the second half was released once too often",
    ),
    Substitution(
        "m3_compile.c",
        r"(?s)(\n    if \(i_stackIndex < i_endStackIndex\)\n    \{\n        u16 srcSlot = [^\n]*\n).*?"
        r"\n        o->wasmStack \[preserveIndex\] = collisionSlot;\n",
        r"\1"
        """        u16 srcEnd = GetExtraSlotForStackIndex (o, i_stackIndex);
        u16 lastTarget = i_targetSlotStackIndex + (i_endStackIndex - i_stackIndex) - 1;
        // The values further up are put into their places before this one.
        for (u16 t = i_targetSlotStackIndex + 1; t <= lastTarget; ++t)
        {
            if (GetSlotForStackIndex (o, t) <= srcEnd and srcSlot <= GetExtraSlotForStackIndex (o, t))
            {
                _throwif (m3Err_functionStackOverflow, i_tempSlot + 2 > d_m3MaxFunctionSlots);
_               (CopyStackIndexToSlot (o, i_tempSlot, i_stackIndex));
                o->wasmStack [i_stackIndex] = i_tempSlot;
                i_tempSlot += GetTypeNumSlots (c_m3Type_i64);
                TouchSlot (o, i_tempSlot - 1);
                break;
            }
        }
_       (CopyStackSlotsR (o, i_targetSlotStackIndex + 1, i_stackIndex + 1, i_endStackIndex, i_tempSlot));
        u16 targetSlot = GetSlotForStackIndex (o, i_targetSlotStackIndex);
        if (targetSlot != GetSlotForStackIndex (o, i_stackIndex))
_           (CopyStackIndexToSlot (o, targetSlot, i_stackIndex));
        o->wasmStack [i_stackIndex] = srcSlot;
""",
        "of several values in the way of another, only the first was saved",
    ),
    Substitution(
        "m3_compile.c",
        r"\n    _       \(EmitOp \(o, op_ContinueLoop\)\);\n",
        "\n_           (ResolveBlockResults (o, scope, true));\n_           (EmitOp (o, op_ContinueLoop));\n",
        "a branch back to a loop left its values behind",
    ),
    Substitution(
        "m3_compile.c",
        r"\n            if \(targetHasResults or isReturn\)\n            \{\n",
        """
            if (targetHasResults or isReturn)
            {
                // Else the way with the branch would do it, and the way without it count on that.
                if (targetHasResults and not isReturn and IsRegisterAllocated (o, 1) and
                    IsFpType (GetFuncTypeResultType (scope->type, GetFuncTypeNumResults (scope->type) - 1)) and
                    GetRegisterStackIndex (o, 1) + 2 != o->stackIndex)
_                   (PreserveRegisterIfOccupied (o, c_m3Type_f64));
""",
        "a branch that was not taken lost a float that was waiting",
    ),
    Substitution(
        "m3_compile.c",
        r"\n(_ +\(PreserveRegisterIfOccupied \(o, c_m3Type_i64\)\); +// move branch operand to a slot\n"
        r"    u16 slot = GetStackTopSlotNumber \(o\);\n_ +\(Pop \(o\)\);\n)",
        r"\n\1"
        "    if (IsRegisterAllocated (o, 1) and GetRegisterStackIndex (o, 1) + 1 != o->stackIndex)\n"
        "_       (PreserveRegisterIfOccupied (o, c_m3Type_f64));\n",
        "of the ways of a table, the first saved a float for all of them",
    ),
    Substitution(
        "m3_compile.c",
        r"\n((?:static\n)?M3Result  Compile_LoopOrBlock  \(IM3Compilation o, m3opcode_t i_opcode\)\n\{)",
        """
// Gives each param of a block a slot of its own; there are i_numAbove values above the params.
static
M3Result  wrt_SeparateParams  (IM3Compilation o, IM3FuncType i_type, u16 i_numAbove)
{
    M3Result result = m3Err_none;
    u16 numParams = GetFuncTypeNumParams (i_type);
    _throwif (m3Err_typeCountMismatch, GetNumBlockValuesOnStack (o) < numParams + i_numAbove);

    for (u16 i = o->stackIndex - i_numAbove - numParams; i < o->stackIndex - i_numAbove; ++i)
    {
        u16 slot = GetSlotForStackIndex (o, i);
        if (slot >= o->slotFirstDynamicIndex and slot < d_m3MaxFunctionSlots and o->m3Slots [slot] > 1)
        {
            u16 newSlot = c_slotUnused;
_           (AllocateSlots (o, & newSlot, GetStackTypeFromBottom (o, i)));
_           (CopyStackIndexToSlot (o, newSlot, i));
            DeallocateSlot (o, slot, GetStackTypeFromBottom (o, i));
            o->wasmStack [i] = newSlot;
        }
    }

    _catch: return result;
}

// Pushes the results of a block that has ended: they are where the ways out of it have put them.
static
M3Result  wrt_PushResults  (IM3Compilation o)
{
    M3Result result = m3Err_none;
    u16 record = o->block.exitStackIndex + GetFuncTypeNumParams (o->block.type);
    o->stackIndex = o->block.exitStackIndex;

    for (u16 i = 0; i < GetFuncTypeNumResults (o->block.type); ++i)
    {
        u16 slot = o->wasmStack [record + i];
        u16 numSlots = GetTypeNumSlots (GetFuncTypeResultType (o->block.type, i));
_       (Push (o, GetFuncTypeResultType (o->block.type, i), slot));
        if (IsRegisterSlotAlias (slot))
            continue;
        for (u16 n = 0; n < numSlots; ++n)
            _throwif ("the place of a block's result is taken", IsSlotAllocated (o, slot + n));
        MarkSlotsAllocated (o, slot, numSlots);
    }

    _catch: return result;
}


"""
        r"\1",
        "what the next substitutions use",
    ),
    Substitution(
        "m3_compile.c",
        r"\n    if \(i_opcode == c_waOp_loop\)\n",
        "\n_   (wrt_SeparateParams (o, blockType, 0));\n\n    if (i_opcode == c_waOp_loop)\n",
        "a param of a block shared its slot with a value outside, and was counted once",
    ),
    Substitution(
        "m3_compile.c",
        r"(\n    IM3Operation op = IsStackTopInRegister \(o\) \? op_If_r : op_If_s;\n)((?:.|\n)*?)"
        r"\n    IM3FuncType blockType;\n(_ +\(ReadBlockType \(o, & blockType\)\);\n)",
        r"\n    IM3FuncType blockType;\n\3_   (wrt_SeparateParams (o, blockType, 1));\n\1\2",
        "the same for an if",
    ),
    Substitution(
        "m3_compile.c",
        r"\n            o->stackIndex = o->block.exitStackIndex;\n_ +\(PushBlockResults \(o\)\);\n",
        "\n_           (wrt_PushResults (o));\n",
        "results were looked for in the first free slots, which need not be those that were free at the block's start",
    ),
    Substitution(
        "m3_compile.c",
        r"(\n        m3opcode_t opcode;\n)(        o->lastOpcodeStart = o->wasm;\n)",
        r"\1"
        "        if (IsStackPolymorphic (o) and o->function)\n"
        "        {\n"
        "            o->wasm = wrt_wasm3_skip (o->wasm, o->wasmEnd);\n"
        "            _throwif (m3Err_unknownOpcode, not o->wasm);\n"
        "        }\n"
        r"\2",
        "code that is never reached is left out; compiling it upset the counts",
    ),
    # Numbers encoded longer than necessary, as linkers leave them (core specification, section 5.2.2). wasm3 reads one
    # byte where WebAssembly 1.0 reserved one; these are indexes now.
    Substitution(
        "m3_compile.c",
        r"\n    u8 opcode;\n_ +\(Read_u8 \(& opcode, & o->wasm, o->wasmEnd\)\);",
        "\n    u32 opcode;\n_   (ReadLEB_u32 (& opcode, & o->wasm, o->wasmEnd));\n"
        "    _throwif (m3Err_unknownOpcode, opcode > 0xFF);",
        "the opcode after a prefix may be written longer",
    ),
    _index_of("Compile_CallIndirect", "call_indirect's table", ("0.5.0",)),
    _index_of("Compile_Memory_Size", "memory.size's memory"),
    _index_of("Compile_Memory_Grow", "memory.grow's memory"),
    _index_of("Compile_Memory_CopyFill", "the memory of memory.fill, and the first of memory.copy", ("0.5.0",)),
    Substitution(
        "m3_compile.c",
        r"\n_ +\(ReadLEB_i7 \(& reserved, & o->wasm, o->wasmEnd\)\);\n        op = op_MemCopy;",
        "\n_       (ReadLEB_u32 (& reserved, & o->wasm, o->wasmEnd));\n        op = op_MemCopy;",
        "the second memory of memory.copy may be written longer",
        ("0.5.0",),
    ),
    Substitution(
        "m3_compile.c",
        r"(\n_ +\(ReadLEB_u32 \(& alignHint, & o->wasm, o->wasmEnd\)\);[^\n]*\n)",
        r"\1    if (alignHint & 0x40)\n_       (ReadLEB_u32 (& memoryOffset, & o->wasm, o->wasmEnd));\n",
        "an access may name its memory, of which there is one",
    ),
    # What 0.5.0 does wrong with valid modules, corrected as in its later versions.
    Substitution(
        "m3_compile.c",
        r"\n            --endIndex;\n",
        "\n            --endIndex;\n            --numValues;\n",
        "a block that returns a float and more gave results in disorder",
        ("0.5.0",),
    ),
    Substitution(
        "m3_compile.c",
        r"if \(numConstantSlots >= d_m3MaxConstantTableSize\)",
        "if (numConstantSlots + 3 > d_m3MaxConstantTableSize)",
        "the table of constants overflowed by one",
        ("0.5.0",),
    ),
    Substitution(
        "m3_compile.c",
        r"if \(result\) // no more constant table space",
        "if (result or slot == c_slotUnused) // no more constant table space",
        "a constant without a place was put nowhere",
        ("0.5.0",),
    ),
    Substitution(
        "m3_compile.c",
        r"    if \(o->function\)\n(    \{\n        // op_Entry uses this value)",
        r"\1",
        "the stack of constant expressions was not counted",
        ("0.5.0",),
    ),
    Substitution(
        "m3_compile.c",
        r"    else o->stackIndex -= numParams;\n",
        "    else if (IsStackPolymorphic (o) and o->block.blockStackIndex + numParams > o->stackIndex)\n"
        "        o->stackIndex = o->block.blockStackIndex;\n"
        "    else o->stackIndex -= numParams;\n",
        "an else after unreachable code took more off the stack than was on it",
        ("0.5.0",),
    ),
    Substitution(
        "m3_compile.c",
        r"\n        Push \(o, type, slot\);\n\n        if \(slot >= o->slotFirstDynamicIndex\)",
        "\n_       (Push (o, type, slot));\n\n        if (slot >= o->slotFirstDynamicIndex and slot != c_slotUnused)",
        "parameters of a block in unreachable code have no place to mark",
        ("0.5.0",),
    ),
    Substitution(
        "m3_compile.c",
        r"\n    PushBlockResults \(o\);\n",
        "\n_   (PushBlockResults (o));\n",
        "results of a block beyond the stack's limit went unnoticed",
        ("0.5.0",),
    ),
    Substitution(
        "m3_compile.c",
        r"\n    u16 stackIndex = o->stackIndex\+\+;",
        "\n    if (o->stackIndex >= d_m3MaxFunctionStackHeight) return m3Err_functionStackOverflow;"
        "\n    u16 stackIndex = o->stackIndex++;",
        "a push beyond the stack's limit moved the stack's index all the same",
        ("0.5.0",),
    ),
    Substitution(
        "m3_compile.c",
        r"\n        else if \(slot >= o->slotFirstDynamicIndex\)\n        \{\n            DeallocateSlot",
        "\\n        else if (slot >= o->slotFirstDynamicIndex and slot < d_m3MaxFunctionSlots)"
        "\\n        {\\n            DeallocateSlot",
        "a pop in unreachable code released a slot that there is not",
        ("0.5.0",),
    ),
)
