# livefeed: what one can do from the top of the tree. The work itself is done by
# extension/Makefile (PGXS), bridge/Makefile and the scripts in dev/.
#
# Settings, on the command line or in the environment:
#   PG_CONFIG=...   the pg_config of the PostgreSQL to build for (default: in PATH)
#   SANITIZE=1      build the bridge with address and undefined-behaviour sanitizers
#   PREFIX=...      where the bridge goes on `make install` (default: /usr/local)
#   DESTDIR=...     a root in front of everything that `make install` writes

PG_CONFIG ?= pg_config
PREFIX ?= /usr/local
export PG_CONFIG

# Only PostgreSQL's folders need root; everything else is done as who one is.
AS_ROOT := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
MAKEFLAGS += --no-print-directory

.DEFAULT_GOAL := build
.PHONY: build install install-extension installcheck unit e2e fault fuzz bench demo test format lint help clean

build: ## build the extension and the bridge
	@dev/setup build
	@$(MAKE) -C extension PG_CONFIG="$(PG_CONFIG)"
	@$(MAKE) -C bridge $(if $(SANITIZE),SANITIZE=$(SANITIZE))

install: install-extension ## install the extension into PostgreSQL and the bridge into PREFIX/bin (uses sudo unless root)
	$(AS_ROOT) install -D -m 755 bridge/livefeed-bridge $(DESTDIR)$(PREFIX)/bin/livefeed-bridge
	$(AS_ROOT) install -D -m 644 etc/livefeed-bridge.ini $(DESTDIR)$(PREFIX)/share/livefeed/livefeed-bridge.ini
	$(AS_ROOT) install -D -m 644 etc/livefeed-bridge.service $(DESTDIR)$(PREFIX)/share/livefeed/livefeed-bridge.service

install-extension: build
	@$(AS_ROOT) $(MAKE) -s -C extension install PG_CONFIG="$(PG_CONFIG)"

installcheck: install-extension ## regression and isolation tests of the extension, on the server that PGHOST or PGPORT name, else on a throwaway one
	@if [ -n "$$PGHOST$$PGPORT" ]; then $(MAKE) -C extension installcheck PG_CONFIG="$(PG_CONFIG)"; else dev/run-tests installcheck; fi

unit: build ## unit tests of the bridge
	@dev/run-tests $(if $(SANITIZE),unit-sanitize,unit)

e2e: install-extension ## end-to-end tests: real clusters, real bridges, clients over WebSocket
	@dev/setup test
	@dev/run-tests $(if $(SANITIZE),e2e-sanitize,e2e)

fault: install-extension ## fault tests in their long form (FAULT_SECONDS each, default 60; a soak of SOAK_SECONDS, default 600): kills, crashes, SIGSTOP
	@dev/setup test
	@FAULT_SECONDS=$${FAULT_SECONDS:-60} SUITE_SECONDS=$${SUITE_SECONDS:-7200} FILE_SECONDS=$${FILE_SECONDS:-7200} dev/run-tests fault

fuzz: ## fuzz the parsers, each for FUZZ_SECONDS (default 60), from the kept corpus
	@dev/setup test
	@test/fuzz/run

bench: install-extension ## measure; prints the tables of docs/performance.md
	@dev/setup test
	@if [ -x test/bench/run ]; then test/bench/run; else echo 'no benchmarks here yet: see Changes'; exit 1; fi

demo: ## the four examples, running: throwaway PostgreSQL, bridges, pages; Ctrl-C removes it all
	@dev/setup demo
	@$(MAKE) -s install-extension
	@examples/demo

test: ## everything: sets up what is missing, builds, runs every suite, ends with "N passed, N failed"
	@dev/setup test
	@$(MAKE) -s install-extension
	@dev/run-tests

format: ## format the bridge and the unit tests (clang-format 14)
	@dev/format

lint: ## compiler warnings, cppcheck, shellcheck, owners of libraries, versions
	@dev/setup test
	@dev/run-tests checks

help: ## this list
	@echo 'make [target] [SETTING=value]'
	@echo
	@sed -nE 's/^([a-z0-9-]+):[^#]*## (.*)$$/  \1\t\2/p' Makefile | expand -t 16
	@echo
	@sed -nE '/^# Settings/,/^$$/s/^# ?//p' Makefile

clean: ## remove what was built and what tests left
	@$(MAKE) -s -C bridge clean SANITIZE=1
	@$(MAKE) -s -C bridge clean
	@$(MAKE) -s -C extension clean PG_CONFIG="$(PG_CONFIG)"
	@rm -rf build
