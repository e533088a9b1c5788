# `make up` and `make test` are all that a fresh Debian machine with a Rust toolchain needs.

HOST    := $(shell rustc -vV | sed -n 's/^host: //p')
TRIPLE  := $(shell echo $(HOST) | tr 'a-z-' 'A-Z_')
BIN     := target/$(HOST)/release/ironclad
IMAGES  := out/images
NAME    ?= ironclad
NODES   ?= 3
CLUSTER := KUBECONFIG=/var/lib/ironclad/clusters/$(NAME)/admin.conf

# One static file: the same program runs on the host and alone in an image. Set for this build alone,
# since procedural macros cannot be built that way.
STATIC  := CARGO_TARGET_$(TRIPLE)_RUSTFLAGS="-C target-feature=+crt-static -C relocation-model=static"

# Functions of the same code are one function in the file, where the linker can do that.
ifeq ($(HOST),x86_64-unknown-linux-gnu)
FOLD    := -C link-arg=-Wl,--icf=all
endif

.PHONY: up down test bench build images compiled deps tools-test

up: deps build images
	$(BIN) up --name $(NAME) --nodes $(NODES) --images $(IMAGES)
	PATH="$$PWD/out/bin:$$PATH" $(CLUSTER) scripts/sample.sh

down:
	$(BIN) down --name $(NAME)

# The program is linked on one core, while the tests are compiled on the other.
test: deps tools-test
	$(MAKE) --jobs 2 build compiled
	$(MAKE) images
	scripts/test.sh $(BIN) $(IMAGES)

bench: deps build images
	scripts/bench.sh $(BIN) $(IMAGES)

build:
	$(STATIC) cargo rustc --release --locked --package ironclad --target $(HOST) -- $(FOLD)

compiled:
	cargo nextest run --workspace --locked --profile ci --no-run

images:
	cargo xtask image --out $(IMAGES)

deps:
	scripts/deps.sh run

tools-test:
	scripts/deps.sh test
