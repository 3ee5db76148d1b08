# Weir. `make help` lists the targets. Variables: V=1 shows commands; B=build directory; SAN=asan.
# Every .c of a directory belongs to it: adding a file needs no line here.

B      ?= build
BIN    ?= bin
CC     ?= gcc
CXX    ?= g++
OPT    ?= -O2
# Debian's own: its packages (pytest, psycopg, ...) are what deps.sh installs.
PYTHON ?= /usr/bin/python3
export PYTHON
export WEIR_BIN = $(abspath $(BIN))
Q       = $(if $(V),,@)

WARN = -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wcast-qual \
       -Wvla -Werror
SANFLAGS = $(if $(filter asan,$(SAN)),-fsanitize=address$(,)undefined -fno-sanitize-recover=undefined \
       -fno-omit-frame-pointer -DWEIR_ASAN=1,-D_FORTIFY_SOURCE=3)
, := ,
VERSION := $(shell cat VERSION)
INC  = -Iproto -Iworkers/lib -Iworkers -I.
CFLAGS_ALL   = -std=gnu11 $(OPT) -g -fPIE -fstack-protector-strong $(WARN) $(SANFLAGS) $(INC) -D_GNU_SOURCE \
               -DWEIR_VERSION='"$(VERSION)"' -MMD -MP $(CFLAGS)
CXXFLAGS_ALL = -std=c++17 $(OPT) -g -fPIE -fno-exceptions -fno-rtti -Wall -Wextra $(SANFLAGS) $(INC) -MMD -MP
LDFLAGS_ALL  = -pie -Wl,-z,relro,-z,now,--as-needed $(SANFLAGS) $(LDFLAGS)

WORKER_ROLES = ingest keeper relay correlate transform load task science status null
ROLES        = supervisor $(WORKER_ROLES)

# What each executable may link beside libproto and libworker; archives pull only what is used.
LIBS_COMMON     = -lfyaml -lseccomp -lpthread -lm
LIBS_WORKER     = -lzmq -lmsgpackc -lsodium
LIBS_supervisor = $(LIBS_COMMON)
LIBS_ingest     = $(LIBS_COMMON) $(LIBS_WORKER) -lrdkafka -lrabbitmq -lsimdjson -lzstd -lz -lstdc++
LIBS_keeper     = $(LIBS_COMMON) $(LIBS_WORKER) -lpq
LIBS_relay      = $(LIBS_COMMON) $(LIBS_WORKER) -lrdkafka
LIBS_correlate  = $(LIBS_COMMON) $(LIBS_WORKER) -lpq
LIBS_transform  = $(LIBS_COMMON) $(LIBS_WORKER)
LIBS_load       = $(LIBS_COMMON) $(LIBS_WORKER) -lpq
LIBS_task       = $(LIBS_COMMON) $(LIBS_WORKER) -lpq
LIBS_science    = $(LIBS_COMMON) $(LIBS_WORKER) -lpq
LIBS_status     = $(LIBS_COMMON) $(LIBS_WORKER) -lmicrohttpd -ljansson -lcurl
LIBS_null       = $(LIBS_COMMON) $(LIBS_WORKER)
LIBS_weir       = $(LIBS_COMMON) $(LIBS_WORKER) -lpq -ljansson -lrdkafka -lrabbitmq
LIBS_test       = $(LIBS_COMMON) $(LIBS_WORKER) -lpq -lrdkafka -lrabbitmq -lsimdjson -lzstd -lz -lmicrohttpd -ljansson -lcurl \
                  -lcmocka -lstdc++

# relay reads as ingest reads.
BESIDE_relay    = $(B)/libingest.a

objects = $(patsubst %,$(B)/%.o,$(basename $(wildcard $(addsuffix /*.c,$(1)) $(addsuffix /*.cc,$(1)))))

PROTO_OBJ  = $(call objects,proto proto/expr proto/seal)
WORKER_OBJ = $(call objects,workers/lib)
CLI_OBJ    = $(call objects,cli) $(B)/sql/migrations.o
SUP_OBJ    = $(call objects,supervisor)

.DEFAULT_GOAL := all
.PHONY: all help deps test unit e2e asan fuzz faults bench demo lint format sizes globals golden-update docs install image k8s-tools k8s-test clean
.SECONDARY:

all: deps $(BIN)/weir $(ROLES:%=$(BIN)/%) ## build everything into bin/

help: ## this list
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

deps: $(B)/.deps ## install the Debian packages that the build needs (as root), or say which
$(B)/.deps: deploy/packages.txt deploy/deps.sh
	@mkdir -p $(B)
	$(Q)deploy/deps.sh build
	@touch $@

$(B)/%.o: %.c | $(B)/.deps
	@mkdir -p $(@D)
	@$(if $(V),,echo "  CC   $<")
	$(Q)$(CC) $(CFLAGS_ALL) -c $< -o $@

$(B)/%.o: %.cc | $(B)/.deps
	@mkdir -p $(@D)
	@$(if $(V),,echo "  CXX  $<")
	$(Q)$(CXX) $(CXXFLAGS_ALL) -c $< -o $@

# The numbered SQL files, compiled into the command.
$(B)/sql/migrations.c: $(wildcard sql/*.sql) sql/embed.sh | $(B)/.deps
	@mkdir -p $(@D)
	$(Q)sql/embed.sh sql/*.sql > $@
$(B)/sql/migrations.o: $(B)/sql/migrations.c
	$(Q)$(CC) $(CFLAGS_ALL) -Isql -c $< -o $@

$(B)/libproto.a: $(PROTO_OBJ) | $(B)/.deps
	@rm -f $@
	$(Q)ar rcs $@ $^
$(B)/libworker.a: $(WORKER_OBJ) | $(B)/.deps
	@rm -f $@
	$(Q)ar rcs $@ $^

# A role's objects without its main, for tests.
define role_rules
$(B)/lib$(1).a: $$(filter-out %/main.o,$$(call objects,workers/$(1))) | $(B)/.deps
	@rm -f $$@
	$$(Q)ar rcs $$@ $$^
$(BIN)/$(1): $$(B)/workers/$(1)/main.o $(B)/lib$(1).a $(BESIDE_$(1)) $(B)/libworker.a $(B)/libproto.a
	@mkdir -p $(BIN)
	@$$(if $$(V),,echo "  LD   $$@")
	$$(Q)$(CC) $$(LDFLAGS_ALL) -o $$@ $$< $(B)/lib$(1).a $(BESIDE_$(1)) $(B)/libworker.a $(B)/libproto.a $$(LIBS_$(1))
endef
$(foreach r,$(WORKER_ROLES),$(eval $(call role_rules,$(r))))

$(BIN)/supervisor: $(SUP_OBJ) $(B)/libproto.a
	@mkdir -p $(BIN)
	@$(if $(V),,echo "  LD   $@")
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $(SUP_OBJ) $(B)/libproto.a $(LIBS_supervisor)

$(BIN)/weir: $(CLI_OBJ) $(B)/libworker.a $(B)/libproto.a
	@mkdir -p $(BIN)
	@$(if $(V),,echo "  LD   $@")
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $(CLI_OBJ) $(B)/libworker.a $(B)/libproto.a $(LIBS_weir)

# Unit tests: one program per tests/unit/test_*.c. Those of a supervisor module link its objects.
UNIT = $(patsubst tests/unit/%.c,$(B)/unit/%,$(wildcard tests/unit/test_*.c))
ROLE_ARCHIVES = $(WORKER_ROLES:%=$(B)/lib%.a)
$(B)/libsupervisor.a: $(filter-out %/main.o,$(SUP_OBJ)) | $(B)/.deps
	@rm -f $@
	$(Q)ar rcs $@ $^
$(B)/libcli.a: $(filter-out %/main.o,$(CLI_OBJ)) | $(B)/.deps
	@rm -f $@
	$(Q)ar rcs $@ $^
TEST_ARCHIVES = $(B)/libsupervisor.a $(B)/libcli.a $(ROLE_ARCHIVES) $(B)/libworker.a $(B)/libproto.a
$(B)/unit/%: $(B)/tests/unit/%.o $(TEST_ARCHIVES)
	@mkdir -p $(@D)
	@$(if $(V),,echo "  LD   $@")
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $< -Wl,--start-group $(TEST_ARCHIVES) -Wl,--end-group $(LIBS_test)

# One source driver alone, spoken to by tests/e2e/test_*_driver.py.
PROBE = $(BIN)/driver_probe
$(PROBE): $(B)/tests/e2e/driver_probe.o $(TEST_ARCHIVES)
	@mkdir -p $(@D)
	@$(if $(V),,echo "  LD   $@")
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $< -Wl,--start-group $(TEST_ARCHIVES) -Wl,--end-group $(LIBS_test)

unit: all $(UNIT) ## unit tests (cmocka)
	$(Q)tests/run-unit $(UNIT)

test: all $(UNIT) $(PROBE) ## unit and end-to-end tests against real servers
	$(Q)deploy/deps.sh test
	$(Q)tests/run $(UNIT)

e2e: all $(PROBE) ## end-to-end tests alone; ARGS="-k name" passes on to pytest
	$(Q)deploy/deps.sh test
	$(Q)tests/run-e2e $(ARGS)

asan: ## unit and end-to-end tests under address, leak and undefined-behaviour sanitizers
	$(Q)$(MAKE) --no-print-directory SAN=asan B=build/asan BIN=build/asan/bin OPT=-O1 test

fuzz: ## every fuzz target for FUZZ_SECONDS (default 60) each
	$(Q)deploy/deps.sh fuzz
	$(Q)tests/run-fuzz

faults: all $(PROBE) ## 200 seeded kills and 40 faults of hosts, longer than the test suite has time for
	$(Q)deploy/deps.sh test
	$(Q)tests/run-e2e --faults $(ARGS)

bench: all ## CPU per event of every workload, with the bars and a peer beside them
	$(Q)deploy/deps.sh bench
	$(Q)tests/bench/run $(ARGS)

demo: all ## the main job on embedded defaults, about 20 seconds; KEEP=1 leaves it running
	$(Q)deploy/deps.sh demo
	$(Q)$(BIN)/weir demo $(if $(KEEP),--keep)

lint: ## formatting, include rule, sizes, globals
	$(Q)deploy/deps.sh lint
	$(Q)$(PYTHON) tests/lint.py all

format: ## clang-format everything
	$(Q)clang-format -i $$(git ls-files '*.c' '*.h')

sizes: ## file and function sizes against the house rule
	$(Q)$(PYTHON) tests/lint.py sizes

globals: all ## static share and mutable globals, from nm
	$(Q)$(PYTHON) tests/lint.py globals

golden-update: all ## accept today's output as the expected output of golden tests
	$(Q)GOLDEN_UPDATE=1 tests/run-e2e -m golden

docs: all ## regenerate docs/reference.md from the option table
	$(Q)$(BIN)/weir help --reference > docs/reference.md

PREFIX ?= /usr/local
install: all ## into PREFIX (default /usr/local)
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/libexec/weir
	install -m 755 $(BIN)/weir $(DESTDIR)$(PREFIX)/bin/
	install -m 755 $(ROLES:%=$(BIN)/%) $(DESTDIR)$(PREFIX)/libexec/weir/
	install -d $(DESTDIR)$(PREFIX)/share/weir/examples/loans $(DESTDIR)$(PREFIX)/share/doc/weir
	install -m 644 examples/loans/*.yaml $(DESTDIR)$(PREFIX)/share/weir/examples/loans/
	install -m 644 README.md docs/*.md deploy/weir.service $(DESTDIR)$(PREFIX)/share/doc/weir/

image: ## the container image, built here by buildah (as root); IMAGE=FILE also writes an OCI archive
	$(Q)deploy/image.sh $(IMAGE)

k8s-test: all ## the image on a real Kubernetes (as root); builds one when there is none: k8s-tools
	$(Q)tests/run-k8s $(ARGS)

k8s-tools: ## Kubernetes itself for k8s-test, built from its Go modules into ~/.cache/weir-kube (minutes, once)
	$(Q)tests/k8s/build.sh $(or $(PROGRAMS),all)

clean: ## remove what was built
	rm -rf build bin

-include $(shell find $(B) -name '*.d' 2>/dev/null)
