# Two commands matter to a newcomer: `make demo` and `make test`.
GO      ?= go
PREFIX  ?= /usr
DESTDIR ?=
UNITDIR ?= $(PREFIX)/lib/systemd/system
ARGS    ?=
VERSION ?= $(shell git describe --tags --always 2>/dev/null || echo unknown)

export CGO_ENABLED ?= 0
LDFLAGS := -s -w -X releve/supervisor.Build=$(VERSION)

.PHONY: all build demo test test-go test-vm bench lint fuzz install deb clean

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

install: build ## programs, manual pages, completion and systemd unit below $(DESTDIR)$(PREFIX)
	install -D -m 0755 bin/releve $(DESTDIR)$(PREFIX)/sbin/releve
	ln -f $(DESTDIR)$(PREFIX)/sbin/releve $(DESTDIR)$(PREFIX)/sbin/keepalived
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/man/man5 $(DESTDIR)$(PREFIX)/share/man/man8
	ln -f $(DESTDIR)$(PREFIX)/sbin/releve $(DESTDIR)$(PREFIX)/bin/genhash
	bin/releve man releve >$(DESTDIR)$(PREFIX)/share/man/man8/releve.8
	echo '.so man8/releve.8' >$(DESTDIR)$(PREFIX)/share/man/man8/keepalived.8
	bin/releve man genhash >$(DESTDIR)$(PREFIX)/share/man/man1/genhash.1
	bin/releve man keepalived.conf >$(DESTDIR)$(PREFIX)/share/man/man5/keepalived.conf.5
	install -D -m 0644 docs/releve.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/releve
	install -D -m 0644 packaging/keepalived.service $(DESTDIR)$(UNITDIR)/keepalived.service
	install -D -m 0644 packaging/keepalived-forking.service $(DESTDIR)$(PREFIX)/share/doc/releve/keepalived-forking.service

deb: ## build/releve_VERSION_ARCH.deb (Debian: dpkg-deb)
	scripts/deb $(VERSION)

clean:
	rm -rf bin build
