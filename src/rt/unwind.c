// SPDX-License-Identifier: MIT
//
// Backtraces from a signal that may come anywhere, in a library too: the program's own code keeps frame pointers, but
// libc uses that register for what it likes, and much of a service's time is spent in its calls of the kernel.
//
// So the innermost frame, and each frame outside the program's file, is left by the unwinding table of its file
// (.eh_frame), the others by frame pointers. Of a table only what finds the caller is followed: where its frame begins,
// the return address, and the frame pointer. What is not understood (an expression, another encoding) ends the walk or
// falls back to the frame pointer.
//
// Invariants
//   1. Nothing is read of the stack but between the stack pointer and `high`, and each frame lies above the last.
//   2. Tables are found when a profile starts (rt_unwind_prepare) and only read later: no lock, no call of the loader.
//      A library that is unloaded while a profile runs must not be replaced by another at its place.
//
// Threads: signal handlers; rt_unwind_prepare while none can run. Not on aarch64: its libraries keep frame pointers
// (backtrace.c).
// Rejected: tables for every frame (ten times the cost), libunwind (its tables are cached behind locks), copying the
// stack to unwind it later (kilobytes a sample).
#include "rt/rt_int.h"

#include <link.h>

#ifdef __x86_64__
enum { FILES_MAX = 128, REMEMBERED_MAX = 4, REG_FRAME = 6, REG_STACK = 7, REG_RETURN = 16 };

static struct file {
	uintptr_t low, high;  // of its code
	const uint8_t *index; // .eh_frame_hdr; NULL: none that is understood
	bool own;
} files[FILES_MAX];
static unsigned file_count;

// ---- the tables ---------------------------------------------------------------------------------------------------

struct cursor {
	const uint8_t *at, *end;
};

// One byte past the end reads as zeros.
static uint64_t read_bytes(struct cursor *c, unsigned count)
{
	uint64_t value = 0;
	for (unsigned i = 0; i < count; i++)
		value |= (uint64_t)(c->at < c->end ? *c->at++ : 0) << (8 * i);
	return value;
}

static uint64_t read_uleb(struct cursor *c)
{
	uint64_t value = 0;
	for (unsigned shift = 0; shift < 64; shift += 7) {
		uint64_t byte = read_bytes(c, 1);
		value |= (byte & 0x7f) << shift;
		if ((byte & 0x80) == 0)
			break;
	}
	return value;
}

static int64_t read_sleb(struct cursor *c)
{
	uint64_t value = 0;
	for (unsigned shift = 0; shift < 64;) {
		uint64_t byte = read_bytes(c, 1);
		value |= (byte & 0x7f) << shift;
		shift += 7;
		if ((byte & 0x80) == 0) {
			if ((byte & 0x40) != 0 && shift < 64)
				value |= ~UINT64_C(0) << shift;
			break;
		}
	}
	return (int64_t)value;
}

static int32_t int_at(const uint8_t *at)
{
	int32_t value;
	memcpy(&value, at, sizeof value);
	return value;
}

// The four encodings that linkers write.
enum { PCREL_S4 = 0x1b, U4 = 0x03, DATAREL_S4 = 0x3b };

// The description of the function at pc; NULL: there is none.
static const uint8_t *description_of(const struct file *file, uintptr_t pc)
{
	const uint8_t *table = file->index + 12;
	uint32_t low = 0, high = (uint32_t)int_at(file->index + 8);
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if ((uintptr_t)file->index + (uintptr_t)(intptr_t)int_at(table + 8 * (size_t)middle) <= pc)
			low = middle + 1;
		else
			high = middle;
	}
	return low > 0 ? file->index + int_at(table + 8 * ((size_t)low - 1) + 4) : NULL;
}

// ---- the rules of one frame ---------------------------------------------------------------------------------------

struct rules {
	uint64_t cfa_reg;
	int64_t cfa_offset; // the frame begins at the register plus this
	bool frame_saved, return_saved;
	int64_t frame_at, return_at; // from there
};

struct program {
	struct cursor code;
	uint64_t code_unit;
	int64_t data_unit;
	struct rules now, first, remembered[REMEMBERED_MAX];
	unsigned remembered_count;
};

static void save(struct program *p, uint64_t reg, int64_t offset)
{
	if (reg == REG_FRAME) {
		p->now.frame_saved = true;
		p->now.frame_at = offset;
	} else if (reg == REG_RETURN) {
		p->now.return_saved = true;
		p->now.return_at = offset;
	}
}

static void restore(struct program *p, uint64_t reg)
{
	if (reg == REG_FRAME) {
		p->now.frame_saved = p->first.frame_saved;
		p->now.frame_at = p->first.frame_at;
	}
}

// A rule that is not followed: fine unless it is about what we follow.
static bool pass_over(struct program *p, bool expression)
{
	uint64_t reg = read_uleb(&p->code), length = read_uleb(&p->code);
	if (expression)
		p->code.at += TARE_MIN(length, (uint64_t)(p->code.end - p->code.at));
	return reg != REG_FRAME && reg != REG_RETURN;
}

// One instruction that moves no place. False: not understood.
static bool run_one(struct program *p, unsigned op)
{
	struct cursor *c = &p->code;
	uint64_t reg;
	switch (op) {
	case 0x00: // nop
		return true;
	case 0x05: // offset_extended
		reg = read_uleb(c);
		save(p, reg, (int64_t)read_uleb(c) * p->data_unit);
		return true;
	case 0x06: // restore_extended
		restore(p, read_uleb(c));
		return true;
	case 0x07: // undefined: of the return address, nobody called
		return read_uleb(c) != REG_RETURN;
	case 0x08: // same_value
		restore(p, read_uleb(c));
		return true;
	case 0x09: // register
	case 0x14: // val_offset
	case 0x15: // val_offset_sf
		return pass_over(p, false);
	case 0x0a: // remember_state
		if (p->remembered_count == REMEMBERED_MAX)
			return false;
		p->remembered[p->remembered_count++] = p->now;
		return true;
	case 0x0b: // restore_state
		if (p->remembered_count == 0)
			return false;
		p->now = p->remembered[--p->remembered_count];
		return true;
	case 0x0c: // def_cfa
		p->now.cfa_reg = read_uleb(c);
		p->now.cfa_offset = (int64_t)read_uleb(c);
		return true;
	case 0x0d: // def_cfa_register
		p->now.cfa_reg = read_uleb(c);
		return true;
	case 0x0e: // def_cfa_offset
		p->now.cfa_offset = (int64_t)read_uleb(c);
		return true;
	case 0x10: // expression
	case 0x16: // val_expression
		return pass_over(p, true);
	case 0x11: // offset_extended_sf
		reg = read_uleb(c);
		save(p, reg, read_sleb(c) * p->data_unit);
		return true;
	case 0x2e: // GNU_args_size
		(void)read_uleb(c);
		return true;
	default:
		return false;
	}
}

// Up to the place `offset` in the function.
static bool run(struct program *p, uint64_t offset)
{
	for (uint64_t place = 0; p->code.at < p->code.end;) {
		unsigned op = (unsigned)read_bytes(&p->code, 1), low = op & 0x3f;
		bool moves = op >> 6 == 1 || (op >= 0x02 && op <= 0x04);
		if (moves) { // advance_loc, and with one, two or four bytes behind
			uint64_t by = op >> 6 == 1 ? low : read_bytes(&p->code, 1U << (op - 2));
			place += by * p->code_unit;
			if (place > offset)
				return true;
		} else if (op >> 6 == 2) { // offset
			save(p, low, (int64_t)read_uleb(&p->code) * p->data_unit);
		} else if (op >> 6 == 3) { // restore
			restore(p, low);
		} else if (!run_one(p, op)) {
			return false;
		}
	}
	return true;
}

// What stands before all functions that share it: units, and the rules at their beginning.
static bool read_common(struct program *p, const uint8_t *common)
{
	uint32_t length = (uint32_t)int_at(common);
	struct cursor c = {common + 8, common + 4 + length};
	if (read_bytes(&c, 1) != 1 || read_bytes(&c, 1) != 'z')
		return false;
	const uint8_t *letters = c.at;
	while (read_bytes(&c, 1) != 0)
		continue;
	p->code_unit = read_uleb(&c);
	p->data_unit = read_sleb(&c);
	if (read_uleb(&c) != REG_RETURN)
		return false;
	uint64_t more = read_uleb(&c);
	struct cursor extra = c;
	bool relative = false;
	for (; *letters != 0; letters++) {
		uint64_t encoding = *letters == 'S' ? 0 : read_bytes(&extra, 1);
		if (*letters == 'R')
			relative = encoding == PCREL_S4;
		else if (*letters == 'P')
			(void)read_bytes(&extra, (encoding & 7) == 3 ? 4 : (encoding & 7) == 2 ? 2 : 8);
	}
	c.at += TARE_MIN(more, (uint64_t)(c.end - c.at));
	p->code = c;
	return relative && run(p, UINT64_MAX);
}

static bool rules_at(const struct file *file, uintptr_t pc, struct rules *ret)
{
	const uint8_t *d = file->index != NULL ? description_of(file, pc) : NULL;
	if (d == NULL)
		return false;
	uint32_t length = (uint32_t)int_at(d);
	uintptr_t begin = (uintptr_t)(d + 8) + (uintptr_t)(intptr_t)int_at(d + 8);
	uint32_t bytes = (uint32_t)int_at(d + 12);
	struct program p = {.now = {.cfa_reg = UINT64_MAX}};
	if (pc < begin || pc - begin >= bytes || !read_common(&p, d + 4 - int_at(d + 4)))
		return false;
	p.first = p.now;
	p.remembered_count = 0;
	struct cursor c = {d + 16, d + 4 + length};
	uint64_t more = read_uleb(&c);
	c.at += TARE_MIN(more, (uint64_t)(c.end - c.at));
	p.code = c;
	if (!run(&p, pc - begin))
		return false;
	*ret = p.now;
	return true;
}

// ---- the walk -----------------------------------------------------------------------------------------------------

struct place {
	uintptr_t pc, sp, frame, high;
};

static bool word_at(const struct place *p, uintptr_t address, uintptr_t *ret)
{
	if (address < p->sp || address % sizeof *ret != 0 || p->high < sizeof *ret || address > p->high - sizeof *ret)
		return false;
	*ret = rt_stack_word(address);
	return true;
}

static const struct file *file_of(uintptr_t pc)
{
	for (unsigned i = 0; i < file_count; i++)
		if (pc >= files[i].low && pc < files[i].high)
			return &files[i];
	return NULL;
}

static bool step_by_table(struct place *p, const struct file *file, uintptr_t pc)
{
	struct rules rules;
	if (!rules_at(file, pc, &rules) || !rules.return_saved)
		return false;
	if (rules.cfa_reg != REG_STACK && rules.cfa_reg != REG_FRAME)
		return false;
	uintptr_t cfa = (rules.cfa_reg == REG_STACK ? p->sp : p->frame) + (uintptr_t)rules.cfa_offset;
	uintptr_t to, frame = p->frame;
	if (cfa <= p->sp || cfa > p->high || !word_at(p, cfa + (uintptr_t)rules.return_at, &to) ||
	    (rules.frame_saved && !word_at(p, cfa + (uintptr_t)rules.frame_at, &frame)))
		return false;
	*p = (struct place){to, cfa, frame, p->high};
	return true;
}

static bool step_by_frame(struct place *p)
{
	uintptr_t to, frame;
	if (!word_at(p, p->frame, &frame) || !word_at(p, p->frame + sizeof to, &to))
		return false;
	*p = (struct place){to, p->frame + 2 * sizeof to, frame, p->high};
	return true;
}

int rt_unwind(const ucontext_t *context, uintptr_t high, uintptr_t ret[RT_FRAMES_MAX])
{
	const greg_t *regs = context->uc_mcontext.gregs;
	struct place p = {(uintptr_t)regs[REG_RIP], (uintptr_t)regs[REG_RSP], (uintptr_t)regs[REG_RBP], high};
	int count = 0;
	ret[count++] = p.pc;
	while (count < RT_FRAMES_MAX) {
		uintptr_t pc = p.pc - (count > 1); // within the call
		const struct file *file = file_of(pc);
		bool by_table = file != NULL && (count == 1 || !file->own) && step_by_table(&p, file, pc);
		if ((!by_table && !step_by_frame(&p)) || p.pc == 0)
			break;
		ret[count++] = p.pc;
	}
	return count;
}

// ---- finding the tables -------------------------------------------------------------------------------------------

static int on_file(struct dl_phdr_info *info, size_t size, void *arg)
{
	(void)size, (void)arg;
	struct file file = {.own = info->dlpi_name == NULL || info->dlpi_name[0] == '\0'};
	for (unsigned i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *header = &info->dlpi_phdr[i];
		uintptr_t low = info->dlpi_addr + header->p_vaddr;
		if (header->p_type == PT_LOAD && (header->p_flags & PF_X) != 0) {
			file.low = file.high == 0 ? low : TARE_MIN(file.low, low);
			file.high = TARE_MAX(file.high, low + header->p_memsz);
		} else if (header->p_type == PT_GNU_EH_FRAME) {
			const uint8_t *index = (const uint8_t *)low;
			bool known = index[0] == 1 && index[1] == PCREL_S4 && index[2] == U4 && index[3] == DATAREL_S4;
			file.index = known ? index : NULL;
		}
	}
	if (file.high != 0 && file_count < FILES_MAX)
		files[file_count++] = file;
	return 0;
}

void rt_unwind_prepare(void)
{
	file_count = 0;
	(void)dl_iterate_phdr(on_file, NULL);
}
#endif
