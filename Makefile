# Every goal is one command of a newcomer's day; what it does in detail stands in scripts/.
# `make` alone lists them. ARGS hands further words on: make test ARGS='a1_ --nocapture'.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# The goals share target/ and .local/, so `make -j` must not run two of them at once.
.NOTPARALLEL:
.PHONY: help demo up down status logs test test-long mutants bench bench-size bench-repair image check deploy-check check-fmt check-clippy check-doc check-scripts check-instructions fmt clean-data

ARGS ?=

help: ## list the goals
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## install, build, start everything, play a campaign, print the verdict
	scripts/stack install
	cargo build --release --locked --workspace --bins
	scripts/stack up servers
	scripts/stack restart services
	eval "$$(scripts/stack env)"; target/release/coupon-demo $(ARGS)

up: ## install, build, start servers and services
	scripts/stack install
	cargo build --release --locked --workspace --bins
	scripts/stack up

down: ## stop what was started
	scripts/stack down

status: ## what runs, where, and where its log lies
	@scripts/stack status

logs: ## the end of every log; FOLLOW=1 keeps following, NAME=kafka shows one
	@FOLLOW=$(FOLLOW) scripts/stack logs $(NAME)

test: ## run all tests on real servers, then stop these again
	scripts/test $(ARGS)

test-long: ## run the tests that take minutes: the crash sweep, kills and restarts at full size
	scripts/test --long $(ARGS)

image: ## build the images of the release binaries, and run each from its own root; BIN=issuer-api: only that one
	scripts/stack install
	cargo build --release --locked --workspace --bins
	scripts/image $(BIN)

mutants: ## make plausible mistakes one at a time, and show which test finds each; takes an hour
	scripts/mutants $(ARGS)

bench: ## measure all stages against the limits of this machine, and check the model: ARGS='--rounds 1'
	scripts/bench $(ARGS)

bench-size: ## measure the cost of an issue at 10 thousand, 1 and 10 million issued: ARGS='--largest 1000000'
	scripts/bench --size $(ARGS)

bench-repair: ## measure reconcile and rebuild of a large campaign: ARGS='--members 10000000'
	scripts/stack install
	cargo build --release --locked --workspace --bins
	scripts/stack up servers
	eval "$$(scripts/stack env)"; target/release/coupon-bench repair $(ARGS)

check-instructions: ## count the instructions of the parts without I/O, each against its limit
	scripts/stack install valgrind
	cargo build --release --locked --workspace --bins
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
	@if command -v shellcheck >/dev/null; then \
	  shellcheck -x scripts/stack scripts/test scripts/bench scripts/mutants scripts/migrations-check scripts/walks-check scripts/image deploy/docker/assemble .ci/run scripts/lib/*.sh scripts/lib/mutants/*.sh; \
	else \
	  echo 'shellcheck is not installed: the scripts are not checked'; \
	fi

deploy-check: ## check manifests, settings, monitoring, Dockerfile, compose and workflows, offline
	scripts/stack install
	cargo build --release --locked --workspace --bins
	scripts/deploy-check

fmt: ## format the code
	cargo fmt --all

clean-data: ## stop, then delete all data and logs of the local stack
	scripts/stack reset
