# Two commands matter to a newcomer: `make demo` and `make test`.
GO      ?= go
PREFIX  ?= /usr
DESTDIR ?=
ARGS    ?=
VERSION ?= $(shell git describe --tags --always 2>/dev/null || echo unknown)

export CGO_ENABLED ?= 0
LDFLAGS := -s -w -X releve/supervisor.Build=$(VERSION)

.PHONY: all build demo test test-go test-vm bench lint fuzz install clean

all: build

build: ## bin/releve, and the two other names it answers to
	@mkdir -p bin
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/releve ./cmd/releve
	@ln -f bin/releve bin/keepalived
	@ln -f bin/releve bin/genhash

demo: build ## two directors, three web servers and a client on this machine: a dead server, a failover
	bin/releve lab run demo $(ARGS)

test: ## install what the tests need (Debian, root), then run them all
	scripts/test

bench: build ## benchmarks, and side by side with the reference where it is installed
	scripts/bench $(ARGS)

lint: ## formatting, vet
	@out=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$out" ]; then echo "gofmt differs: $$out"; exit 1; fi
	$(GO) vet ./...

fuzz: ## every fuzz target for FUZZTIME each (default 20s)
	scripts/fuzz

install: build ## $(PREFIX)/sbin/releve and keepalived, $(PREFIX)/bin/genhash
	install -D -m 0755 bin/releve $(DESTDIR)$(PREFIX)/sbin/releve
	ln -f $(DESTDIR)$(PREFIX)/sbin/releve $(DESTDIR)$(PREFIX)/sbin/keepalived
	install -d $(DESTDIR)$(PREFIX)/bin
	ln -f $(DESTDIR)$(PREFIX)/sbin/releve $(DESTDIR)$(PREFIX)/bin/genhash

clean:
	rm -rf bin build
