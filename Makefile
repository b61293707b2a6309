# Bare `make` lists what there is. Everything uses the release profile: tests drive the binaries that are shipped.

TOOLS := $(CURDIR)/target/tools
DENY  := $(TOOLS)/bin/cargo-deny
DEB   := $(TOOLS)/bin/cargo-deb

KILL_POINTS := executor-helper/kill-points,api-frontend/kill-points

.DEFAULT_GOAL := help
.PHONY: help armed build deb demo test mutations test-vm test-deb check fmt figures deps-apt clean-local bench bench-short storm storm-places storm-short fuzz fuzz-short

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

build: ## the four binaries, in target/release
	cargo build --locked --release --workspace

deb: build $(DEB) ## the Debian package, in target/deb
	deploy/deb/build

demo: build ## the whole of it in two minutes: real commands under limits through both processes (root)
	deploy/demo

test: build ## every test that needs no virtual machine; says what was skipped and why (root)
	deploy/test

test-vm: build $(DEB) ## Debian 12 and 13 guests under QEMU: the package under an operator's hands, and the end-to-end tests (root)
	deploy/vm/all

test-deb: build $(DEB) ## of test-vm the package alone, along docs/operator.md (root)
	deploy/vm/all operator hybrid v1 host

mutations: build ## removes what the root side checks, one at a time, and shows that a test notices each; WORDS="..." only some (root)
	deploy/mutations $(WORDS)

bench: build ## what Airlock costs beside ssh, the bare kernel and bare TLS, into bench/RESULTS.md (root, a quiet machine)
	AIRLOCK_BIN=$(CURDIR)/target/release bench/run

bench-short: build ## shows in a minute that the bench works; judges no times (root)
	AIRLOCK_BIN=$(CURDIR)/target/release bench/run --short

armed: ## the two programs once more, able to die at chosen places, in target/kill-points: the storm's second build
	cargo build --locked --release --workspace --features $(KILL_POINTS)
	mkdir -p target/kill-points
	cp -f target/release/airlock-executor target/release/airlock-keeper target/release/airlock-frontend target/kill-points
	cargo build --locked --release --workspace

storm: armed ## kills everything at random and at chosen places, and upgrades between two builds, under 2,000 jobs; compares every status and byte with the truth (root)
	AIRLOCK_BIN=$(CURDIR)/target/release target/release/airlock-storm --armed target/kill-points --points 60 --small 4 $(STORM)

storm-short: armed ## the same for about a minute; STORM="--seed N" repeats one, here and above (root)
	AIRLOCK_BIN=$(CURDIR)/target/release target/release/airlock-storm --armed target/kill-points --points 50 --kills 60 --jobs 150 --small 4 $(STORM)

storm-places: armed ## kills both programs at each of their places until each was hit 20 times with a job spawning, one writing and one ending, or two hours are over (root)
	AIRLOCK_BIN=$(CURDIR)/target/release target/release/airlock-storm --armed target/kill-points --points 97 \
		--until-hits 20 --minutes 120 --kills 0 --jobs 0 --at-once 4 --small 28 $(STORM)

fuzz: ## an hour of each fuzz target; what is found stays in fuzz/found (fuzz/README.md)
	fuzz/run long

fuzz-short: ## the fuzz targets' corpora, then some seconds of each with a fixed seed
	fuzz/run short

check: figures $(DENY) ## formatting, lints, documents, licences and dependencies, and the size of the root code
	deploy/documents
	deploy/mutations --list >/dev/null
	cargo metadata --locked --format-version 1 --manifest-path fuzz/Cargo.toml >/dev/null
	cargo fmt --all --check
	cargo clippy --locked --release --workspace --all-targets -- -D warnings
	cargo clippy --locked --release --workspace --features $(KILL_POINTS) -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --release --workspace --no-deps
	$(DENY) --locked check bans licenses sources

figures: ## the size of the root code against its bounds
	deploy/figures

fmt: ## formats everything
	cargo fmt --all

deps-apt: ## installs the Debian packages that building, testing and test-vm need (root)
	apt-get update
	apt-get install -y --no-install-recommends $$(grep -hv '^#' deploy/packages $(wildcard deploy/*/packages) fuzz/packages)

clean-local: ## stops and removes the stack in ./.airlock (root)
	deploy/local down --purge

$(DEB):
	cargo install --locked cargo-deb --version 3.8.0 --no-default-features --root $(TOOLS)

$(DENY):
	cargo install --locked --debug cargo-deny --version 0.20.2 --root $(TOOLS)
