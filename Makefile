# SPDX-License-Identifier: MIT
# The only build. Everything it makes goes under build/, a folder a mode: build/release, build/asan, build/tsan, …
# `make help` lists the targets.

MODE ?= release
CC = gcc
VERSION := $(shell cat VERSION)
B := build/$(MODE)
JOBS ?= $(shell nproc)
# How targets that people run build what they need.
BUILD = $(MAKE) --no-print-directory -s -j$(JOBS)

# ---- compiler -------------------------------------------------------------------------------------------------------

# WERROR=1, as continuous integration sets it, makes warnings errors. Another compiler's new warning breaks nobody's build.
WARN := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla $(if $(WERROR),-Werror)
# Frame pointers are kept: backtraces and profiles walk them. Stack clash protection: a large frame can't jump over a guard page.
CFLAGS_BASE := -std=gnu17 -g -fno-omit-frame-pointer -fstack-clash-protection -fno-strict-aliasing -fvisibility=hidden -pthread $(WARN)
CPPFLAGS := -D_GNU_SOURCE -DTARE_VERSION='"$(VERSION)"' -DTARE_MODE='"$(MODE)"' -Iinclude -Isrc
LLHTTP_CPPFLAGS := -isystem /usr/share/include/llhttp -DLLHTTP_STRICT_MODE=1
TEST_CPPFLAGS := -Itest/unit $(LLHTTP_CPPFLAGS)
LDLIBS := -luring -lcares -lxxhash -lz -ljansson -lm -pthread
# What the program alone needs, and tests that reach into its parts.
CMD_LDLIBS := -ldw -lelf
LDFLAGS_BASE := -rdynamic

CFLAGS_release := -O2
# The program and the benchmarks are optimised across files: an eighth of a request's user time. libtare.a holds both
# forms of its code, and tests are linked from the plain one, which takes a tenth of the time.
LTO_release := -flto=auto -ffat-lto-objects
CFLAGS_debug := -O0 -DTARE_DEBUG
CFLAGS_asan := -O1 -DTARE_DEBUG -fsanitize=address,undefined -fno-sanitize-recover=all
CFLAGS_tsan := -O1 -DTARE_DEBUG -fsanitize=thread
# The hostile build: poison, tiny caches and queues, stack variables that begin as garbage, libc's own checks.
CFLAGS_hard := -O1 -DTARE_DEBUG -DTARE_HARD -ftrivial-auto-var-init=pattern -fstack-protector-strong -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2
CFLAGS_cover := -O0 -DTARE_DEBUG --coverage
CFLAGS_aarch64 := -O2 -DTARE_NO_URING -DTARE_NO_ARES -DTARE_NO_ZLIB
CFLAGS_sim := -O1 -DTARE_DEBUG -Wno-shadow -DTARE_SIM -include base/sim.h
LDFLAGS_asan := -fsanitize=address,undefined
LDFLAGS_tsan := -fsanitize=thread
LDFLAGS_cover := --coverage

CMOCKA := -lcmocka
# For the other machine, on this one: its compiler, which lacks the libraries that only some rooms need (xxhash, whose
# header is the same everywhere; liburing and c-ares, which are left out; jansson, for commands) and cmocka, which test/cross
# stands in for.
ifeq ($(MODE),aarch64)
CC = aarch64-linux-gnu-gcc
CPPFLAGS += -idirafter /usr/include
TEST_CPPFLAGS := -Itest/unit -Itest/cross
LDLIBS := -lm -pthread
CMD_LDLIBS :=
CMOCKA :=
endif

ifeq ($(origin CFLAGS_$(MODE)),undefined)
$(error MODE=$(MODE) is unknown: release, debug, hard, asan, tsan, cover, sim or aarch64)
endif
CFLAGS = $(CFLAGS_BASE) $(ARCH_CFLAGS_$(ARCH)) $(CFLAGS_$(MODE)) $(EXTRA_CFLAGS)
LDFLAGS = $(LDFLAGS_BASE) $(LDFLAGS_$(MODE)) $(EXTRA_LDFLAGS)
LTO := $(if $(findstring gcc,$(CC)),$(LTO_$(MODE)))
NO_LTO := $(if $(LTO),-fno-lto)

# x86-64-v2 (2009) has the byte shuffle that base64 wants; every aarch64 has its like.
ARCH_CFLAGS_x86_64 := -march=x86-64-v2

# ---- what there is --------------------------------------------------------------------------------------------------

# Without a compiler (make run installs one) the machine is the kernel's.
ARCH := $(shell $(CC) -dumpmachine 2>/dev/null | cut -d- -f1 | grep . || uname -m)
ifeq ($(filter $(ARCH),x86_64 aarch64),)
$(error Tare runs on x86_64 and aarch64; there is no context switch for $(ARCH) in src/rt)
endif
LIB_SRC := $(filter-out src/cmd/%,$(wildcard src/*/*.c)) $(wildcard src/rt/switch_$(ARCH).S)
CMD_SRC := $(wildcard src/cmd/*.c src/cmd/*/*.c)
LIB_OBJ := $(patsubst src/%,$(B)/obj/%.o,$(LIB_SRC))
CMD_OBJ := $(patsubst src/%,$(B)/obj/%.o,$(CMD_SRC))
# A test may reach into one subcommand's parts: everything of cmd but its main.
CMD_PARTS := $(if $(filter aarch64,$(MODE)),,$(filter-out $(B)/obj/cmd/main.c.o,$(CMD_OBJ)))
TEST_SRC := $(wildcard test/unit/*/test_*.c)
TEST_BIN := $(patsubst test/unit/%.c,$(B)/test/%,$(TEST_SRC))
PRELOAD := $(patsubst %.c,$(B)/preload/%.so,$(notdir $(wildcard test/preload/*.c src/base/preload/*.c)))

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: all run test check lint format asan ubsan tsan hard fault sim soak soak-heap aarch64 fuzz bench npa lab gate cover docs install clean help \
	deps-run deps-test deps-lint deps-aarch64 unit e2e test-build man schemas

all: $(B)/tare $(B)/preload/malloc_count.so build/compile_commands.json ## build the program, the library, and what counts heap calls
# What people run and measure; no other mode moves it.
ifeq ($(MODE),release)
	@ln -sfn $(MODE)/tare build/tare
endif

$(B)/libtare.a: $(LIB_OBJ)
	@rm -f $@
	ar rcs $@ $(LIB_OBJ)

$(B)/tare: $(CMD_OBJ) $(B)/libtare.a
	$(CC) $(CFLAGS) $(LTO) $(LDFLAGS) -o $@ $(CMD_OBJ) $(B)/libtare.a $(CMD_LDLIBS) $(LDLIBS)

# What was compiled with other flags is compiled anew. -Werror changes no object.
FINGERPRINT = $(CC) $(subst ','\'',$(filter-out -Werror,$(CFLAGS)) $(LTO) $(CPPFLAGS))
$(B)/flags: FORCE
	@mkdir -p $(B)
	@echo '$(FINGERPRINT)' | cmp -s - $@ || echo '$(FINGERPRINT)' >$@
.PHONY: FORCE
FORCE:

# The commit that figures are of, in the one file that tells it. "-dirty" where something was changed since.
$(B)/commit: FORCE
	@mkdir -p $(@D)
	@git describe --always --dirty --exclude='*' 2>/dev/null >$@.new || true
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@
$(B)/obj/cmd/lab/machine.c.o: src/cmd/lab/machine.c $(B)/flags $(B)/commit
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -DTARE_COMMIT='"$(shell cat $(B)/commit)"' $(CFLAGS) $(LTO) -MMD -MP -c -o $@ $<

$(B)/obj/%.c.o: src/%.c $(B)/flags
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(LTO) -MMD -MP -c -o $@ $<

$(B)/obj/%.S.o: src/%.S $(B)/flags
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(B)/test/%: test/unit/%.c test/unit/test.h $(CMD_PARTS) $(B)/libtare.a
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(TEST_CPPFLAGS) $(CFLAGS) $(NO_LTO) -MMD -MP -MF $@.d $(LDFLAGS) -o $@ $< $(TEST_OBJ) $(CMD_PARTS) $(B)/libtare.a $(CMOCKA) $(CMD_LDLIBS) $(LDLIBS)

# A second HTTP parser that ours is compared with; Debian's node-llhttp brings its sources. Not our code, so no warnings.
LLHTTP_OBJ := $(patsubst %,$(B)/llhttp/%.o,api http llhttp)
$(B)/test/http/test_llhttp: TEST_OBJ = $(LLHTTP_OBJ)
$(B)/test/http/test_llhttp: $(LLHTTP_OBJ)
$(B)/llhttp/%.o: /usr/share/llhttp/%.c $(B)/flags
	@mkdir -p $(@D)
	$(CC) $(LLHTTP_CPPFLAGS) $(CFLAGS) -w -c -o $@ $<

# What `tare schema compile` made of the codec's schemas, and of its tests'; `make schemas` makes it anew.
CODEC_SCHEMAS := $(wildcard src/codec/schema/*.tare test/unit/codec/schema/*.tare)
CODEC_OBJ := $(patsubst src/%,$(B)/obj/%.o,$(wildcard src/codec/schema/*.c)) \
	$(patsubst test/unit/%,$(B)/test/%.o,$(wildcard test/unit/codec/schema/*.c))
$(B)/test/codec/%: TEST_OBJ = $(CODEC_OBJ)
$(filter $(B)/test/codec/test_%,$(TEST_BIN)): $(CODEC_OBJ)
$(B)/test/codec/schema/%.c.o: test/unit/codec/schema/%.c $(B)/flags
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(NO_LTO) -MMD -MP -c -o $@ $<

# What the runtime's primitives cost: `bench/rt` prints one JSON line a figure.
$(B)/bench/rt: $(wildcard bench/rt/*.c bench/rt/*.h) $(B)/libtare.a
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(LTO) $(LDFLAGS) -o $@ $(filter %.c %.a,$^) $(LDLIBS)

# Tare's own rows, which `tare npa` measures: they reach into the program's parts as tests do. The standard tables that some
# rows stand beside are linked here and nowhere else, and only where they are installed; one is C++.
NPA_STANDARD := $(shell command -v g++ >/dev/null && test -e /usr/include/uthash.h && pkg-config --exists glib-2.0 && echo yes)
NPA_STANDARD_SRC := $(if $(NPA_STANDARD),bench/npa/standard/rows.c $(B)/npa/unordered_map.o)
NPA_STANDARD_FLAGS = $(if $(NPA_STANDARD),$(patsubst -I%,-isystem %,$(shell pkg-config --cflags glib-2.0)))
NPA_STANDARD_LIBS := $(if $(NPA_STANDARD),-lglib-2.0 -lstdc++)
$(B)/bench/npa: $(wildcard bench/npa/*.c bench/npa/*.S bench/npa/*.h bench/messages/*.h) bench/messages/bid_request.json \
	$(NPA_STANDARD_SRC) $(filter $(B)/obj/codec/%,$(CODEC_OBJ)) $(CMD_PARTS) $(B)/libtare.a
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(NPA_STANDARD_FLAGS) $(CFLAGS) $(LTO) $(LDFLAGS) -o $@ $(filter %.c %.S %.o %.a,$^) \
		$(CMD_LDLIBS) $(NPA_STANDARD_LIBS) $(LDLIBS)
$(B)/npa/unordered_map.o: $(wildcard bench/npa/standard/unordered_map.*) $(B)/flags
	@mkdir -p $(@D)
	g++ -std=gnu++17 -O2 -g -fvisibility=hidden $(ARCH_CFLAGS_$(ARCH)) -c -o $@ bench/npa/standard/unordered_map.cc
$(B)/bench/table: bench/peers/table/measure.h
# What messages cost through the codec; the same for its peers is built by bench/codec.
$(B)/bench/messages: bench/messages/main.c $(wildcard bench/messages/*.h) $(B)/obj/cmd/svc/lookup_json.c.o $(CODEC_OBJ) $(B)/libtare.a
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(LTO) $(LDFLAGS) -o $@ $(filter %.c %.o %.a,$^) $(LDLIBS)

$(B)/bench/%: bench/%.c $(B)/libtare.a
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(LTO) $(LDFLAGS) -o $@ $< $(B)/libtare.a $(LDLIBS)

$(B)/soak/soak: $(wildcard test/soak/*.c test/soak/*.h) $(B)/libtare.a
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -Itest/soak $(CFLAGS) $(NO_LTO) $(LDFLAGS) -o $@ $(filter %.c %.a,$^) $(LDLIBS)

$(B)/soak/heap: $(wildcard test/soak/heap/*.c) $(B)/libtare.a
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(NO_LTO) $(LDFLAGS) -o $@ $(filter %.c %.a,$^) $(LDLIBS)

# Loaded before the program, so never sanitized.
define PRELOAD_RULE
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -std=gnu17 -O2 -g $(WARN) -fPIC -shared -o $@ $< -ldl -pthread
endef
$(B)/preload/%.so: test/preload/%.c ; $(PRELOAD_RULE)
$(B)/preload/%.so: src/base/preload/%.c include/tare/heap.h ; $(PRELOAD_RULE)

$(B)/preload/madvise.so: test/cross/madvise.c
	@mkdir -p $(@D)
	$(CC) -D_GNU_SOURCE -std=gnu17 -O2 $(WARN) -Wno-missing-prototypes -fPIC -shared -o $@ $<

build/compile_commands.json: $(LIB_SRC) $(CMD_SRC) $(TEST_SRC) Makefile
	@mkdir -p build
	@tools/compile-commands '$(subst ','\'',$(CC) $(CPPFLAGS) $(TEST_CPPFLAGS) $(CFLAGS))' $(filter %.c,$^) >$@

-include $(wildcard $(LIB_OBJ:.o=.d) $(CMD_OBJ:.o=.d) $(CODEC_OBJ:.o=.d) $(TEST_BIN:=.d))

# ---- what people run ------------------------------------------------------------------------------------------------

deps-run deps-test deps-lint deps-aarch64: deps-%:
	@tools/deps $*

run: deps-run ## install what is missing, build, generate a snapshot, serve it, drive it, report
	@$(BUILD) all
	@tools/run

test: deps-test ## build and run the tests; T=name runs those whose name contains it
	@$(BUILD) all test-build
	@tools/test $(B) '$(T)'

test-build: $(TEST_BIN) $(PRELOAD) $(if $(filter release,$(MODE)),$(B)/bench/npa) man

# The headers as manual pages, one each, and one a function that leads there.
man: build/man/man3/made

build/man/man3/made: tools/man3 docs/man/tare.1 $(wildcard include/tare/*.h)
	@rm -rf $(@D)
	@tools/man3 $(@D) $(filter %.h,$^)
	@touch $@

schemas: all ## write anew what `tare schema compile` makes of the schemas in this tree
	@for schema in $(CODEC_SCHEMAS); do $(B)/tare schema compile $$schema --out $$(dirname $$schema) || exit 1; done

check: ## the gate before a commit: lint and test
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory test

lint: deps-lint ## format, layers, exported symbols, sizes, both compilers warning-free
	@tools/lint

format: deps-lint ## rewrite the sources in the house's format
	@git ls-files '*.c' '*.h' | xargs clang-format -i

asan ubsan: deps-test ## the tests under AddressSanitizer and UndefinedBehaviorSanitizer
	@$(BUILD) MODE=asan all test-build
	@tools/test build/asan '$(T)'

tsan: deps-test ## the tests under ThreadSanitizer
	@$(BUILD) MODE=tsan all test-build
	@tools/test build/tsan '$(T)'

hard: deps-test ## the tests in the hostile build: poison, tiny caches and queues, libc's checks
	@$(BUILD) MODE=hard all test-build
	@tools/test build/hard '$(T)'

fault: deps-test ## fail the n-th allocation and the n-th system call, for every n
	@$(BUILD) all test-build
	@test/fault/run $(B)

sim: deps-test ## the runtime's tests in simulation: SEED=n one seed, SEEDS=n that many (1000), T=name
	@$(BUILD) MODE=sim sim-build
	@tools/sim build/sim '$(T)' --seeds '$(or $(SEEDS),1000)' --seed '$(SEED)'
	@if [ -z '$(SEED)$(T)' ]; then tools/sim build/sim --faults; fi

# The tests that run in tasks.
sim-build: $(filter $(B)/test/rt/% $(B)/test/net/% $(B)/test/gc/test_gc% $(B)/test/http/test_server $(B)/test/index/test_records $(B)/test/index/test_table_readers,$(TEST_BIN))

soak: deps-test ## tasks, channels and connections come and go for SECONDS (300); nothing may pile up
	@$(BUILD) $(B)/soak/soak
	@tools/soak $(B) '$(or $(SECONDS),300)' $(ARGS)

soak-heap: deps-test ## the collected heap at 10 % growth for SECONDS (300): memory flat, each cleanup once
	@$(BUILD) $(B)/soak/heap
	@tools/soak $(B) '$(or $(SECONDS),300)' --heap $(ARGS)

aarch64: deps-aarch64 ## cross-build for aarch64 and run the tests of base, stat, mem and rt under qemu; T=name
	@$(BUILD) MODE=aarch64 aarch64-build
	@tools/cross build/aarch64 '$(T)'

# Not asked of the emulator: what looks at the process from outside (its threads, its memory, other programs), and what
# needs libraries of that architecture.
AARCH64_LEFT_OUT := $(patsubst %,$(B)/test/rt/test_%,child dump monitor trace uring)
aarch64-build: $(filter-out $(AARCH64_LEFT_OUT),$(filter $(B)/test/base/% $(B)/test/stat/% $(B)/test/mem/% $(B)/test/rt/%,$(TEST_BIN))) $(B)/soak/soak $(B)/preload/madvise.so

fuzz: deps-lint ## fuzz one parser for SECONDS (60): F=http
	@tools/fuzz '$(F)' '$(or $(SECONDS),60)'

bench: deps-test ## ours and the peers in interleaved rounds: servers, primitives, echo, memory, tables; medians and ratios
	@$(BUILD) all
	@bench/run $(ARGS)
	@bench/primitives
	@bench/echo
	@bench/memory
	@bench/table

npa: deps-test ## what each abstraction costs; ARGS=... as for `tare npa`, such as '--html build/npa.html'
	@$(BUILD) all $(B)/bench/npa
	@$(B)/tare npa $(ARGS)

lab: deps-test ## experiments on memory, Go's service beside Tare's; ARGS=... as for `tare lab`, such as '--quick --out build/lab'
	@$(BUILD) all
	@$(B)/tare lab $(ARGS)

gate: deps-test ## instructions and system calls of each row, held to bench/npa/baseline.json
	@$(BUILD) all $(B)/bench/npa
	@$(B)/tare npa --check bench/npa/baseline.json

cover: deps-test ## line coverage of the unit tests
	@$(BUILD) MODE=cover all test-build
	@tools/test build/cover '$(T)'
	@tools/cover build/cover

docs: man ## check that man pages and links hold
	@tools/docs

PREFIX ?= /usr/local
install: all man $(B)/preload/malloc_count.so $(B)/bench/npa ## install the program, the library, its headers, pkg-config file and man pages under DESTDIR/PREFIX
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/pkgconfig $(DESTDIR)$(PREFIX)/include/tare
	install -d $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/man/man3
	install -m 755 $(B)/tare $(DESTDIR)$(PREFIX)/bin/tare
	install -m 644 $(B)/libtare.a $(DESTDIR)$(PREFIX)/lib/libtare.a
	install -D -m 644 $(B)/preload/malloc_count.so $(DESTDIR)$(PREFIX)/lib/tare/malloc_count.so
	install -m 755 $(B)/bench/npa $(DESTDIR)$(PREFIX)/lib/tare/npa
	install -m 644 include/tare/*.h $(DESTDIR)$(PREFIX)/include/tare/
	install -m 644 docs/man/*.1 $(DESTDIR)$(PREFIX)/share/man/man1/
	install -m 644 build/man/man3/*.3 $(DESTDIR)$(PREFIX)/share/man/man3/
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@VERSION@|$(VERSION)|' tools/tare.pc.in >$(DESTDIR)$(PREFIX)/lib/pkgconfig/tare.pc

# What tools ask of this file: `make print-CFLAGS`.
print-%:
	$(info $($*))@:

clean: ## remove build/
	rm -rf build

help: ## this list
	@awk -F':.*## ' '/^[a-z].*:.*## /{printf "  make %-12s %s\n", $$1, $$2}' Makefile
