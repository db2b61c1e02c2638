# Every goal is one command of a newcomer's day; what it does in detail stands in scripts/.
# `make` alone lists them. ARGS hands further words on: make test ARGS='a1_ --nocapture'.
# Demo and tests share the unoptimised build in target/debug; what is used, measured or shipped is the release build.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# The goals share target/ and .local/, so `make -j` must not run two of them at once.
.NOTPARALLEL:
.PHONY: help demo up down status logs test test-fast test-long test-console test-versions contract-check soak mutants bench bench-size bench-repair image check deploy-check check-fmt check-clippy check-doc check-scripts check-supply-chain check-instructions fmt clean-data

ARGS ?=

# All builds choose the whole workspace and name the binaries they need: cargo chooses the features of dependencies by the
# crates that are chosen, so another choice would compile most dependencies again. --examples, of which there are none,
# brings in the features that the tests need.
SERVICES := --workspace --bin issuer-api --bin issue-consumer --bin dlq-consumer
BUILD_DEBUG := cargo build --locked --examples $(SERVICES)
BUILD_RELEASE := scripts/release-build $(SERVICES)

help: ## list the goals
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: export STACK_BIN_DIR := $(CURDIR)/target/debug
demo: ## install, build, start everything, play a campaign, print the verdict
	scripts/stack install
	@[[ -x target/debug/coupon-demo ]] || echo 'building; the first time that takes about 6 minutes on two cores'
	$(BUILD_DEBUG) --bin coupon-demo
	scripts/stack up servers
	scripts/stack restart services
	eval "$$(scripts/stack env)"; coupon-demo $(ARGS)
	@printf 'look at it in the console; this link logs in, once, within ten minutes: '; scripts/stack login

up: export STACK_BIN_DIR := $(CURDIR)/target/release
up: ## install, build for release, start servers and services; those that run are restarted
	scripts/stack install
	@[[ -x target/release/coupon-demo ]] || echo 'building for release; the first time that takes more than 10 minutes on two cores'
	$(BUILD_RELEASE) --bin coupon-demo
	scripts/stack up servers
	scripts/stack restart services
	@printf 'this link logs in to the console, once, within ten minutes: '; scripts/stack login

down: ## stop what was started
	scripts/stack down

status: ## what runs, where, and where its log lies
	@scripts/stack status

logs: ## the end of every log; FOLLOW=1 keeps following, NAME=kafka shows one
	@FOLLOW=$(FOLLOW) scripts/stack logs $(NAME)

test: ## run all tests on real servers, then stop these again
	scripts/test $(ARGS)

test-fast: ## run the unit tests that need no server: under a minute once they are built
	scripts/test --fast $(ARGS)

test-long: ## run the tests that take minutes: the crash sweep, kills and restarts at full size
	scripts/test --long $(ARGS)

image: ## build the images of the release binaries, and run each from its own root; BIN=issuer-api: only that one
	scripts/stack install
	$(BUILD_RELEASE)
	scripts/image $(BIN)

test-console: ## run the tests of the operators' console in a browser, on a stack of their own; screenshots in target/console
	scripts/stack install
	$(BUILD_DEBUG)
	STACK_BIN_DIR=target/debug scripts/test-console $(ARGS)

contract-check: ## check the documents of both APIs, and every answer against them: ARGS=--answers, --long or --accept
	scripts/stack install
	$(BUILD_DEBUG) --bin coupon-demo
	STACK_BIN_DIR=target/debug scripts/contract-check $(ARGS)

test-versions: ## run the core of the pipeline on PostgreSQL 16 to 18, Redis 8 and Valkey 8: ARGS=valkey-8
	scripts/versions $(ARGS)

soak: ## an hour of members, faults and operators, judged by two checkers: ARGS='--minutes 10 --seed 7'
	scripts/stack install
	$(BUILD_DEBUG) --bin coupon-soak
	scripts/soak $(ARGS)

mutants: ## make plausible mistakes one at a time, and show which test finds each; takes an hour
	scripts/mutants $(ARGS)

bench: ## measure all stages against the limits of this machine, and check the model: ARGS='--rounds 1'
	scripts/bench $(ARGS)

bench-size: ## measure the cost of an issue at 10 thousand, 1 and 10 million issued: ARGS='--largest 1000000'
	scripts/bench --size $(ARGS)

bench-repair: ## measure reconcile and rebuild of a large campaign: ARGS='--members 10000000'
	scripts/stack install
	$(BUILD_RELEASE) --bin coupon-bench
	scripts/stack up servers
	eval "$$(scripts/stack env)"; target/release/coupon-bench repair $(ARGS)

check-instructions: ## count the instructions of the parts without I/O, each against its limit
	scripts/stack install valgrind
	scripts/release-build --workspace --bin coupon-bench
	target/release/coupon-bench instructions $(ARGS)

check: check-fmt check-clippy check-doc check-scripts ## format, lints and documentation, warnings denied

check-fmt:
	cargo fmt --all --check

check-clippy:
	cargo clippy --workspace --all-targets --locked -- -D warnings

check-doc:
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked

check-scripts:
	@scripts/mutants --check
	@scripts/migrations-check
	@scripts/walks-check
	@python3 scripts/lib/soak/judge_test.py
	@if command -v shellcheck >/dev/null; then \
	  shellcheck -x scripts/stack scripts/test scripts/test-console scripts/contract-check scripts/clients scripts/bench scripts/mutants scripts/migrations-check scripts/walks-check scripts/soak scripts/pgbouncer scripts/versions scripts/supply-chain scripts/previous-build scripts/release-build scripts/image deploy/docker/assemble deploy/docker/licences .ci/run .cargo/cc scripts/lib/*.sh scripts/lib/mutants/*.sh; \
	else \
	  echo 'shellcheck is not installed: the scripts are not checked'; \
	fi

check-supply-chain: ## check licences, sources and known vulnerabilities of the crates; the last need github.com or ADVISORY_DB
	@scripts/supply-chain

deploy-check: ## check manifests, settings, monitoring, Dockerfile, compose and workflows, offline
	scripts/stack install
	$(BUILD_DEBUG)
	STACK_BIN_DIR=target/debug scripts/deploy-check

fmt: ## format the code
	cargo fmt --all

clean-data: ## stop, then delete all data and logs of the local stack
	scripts/stack reset
