# Every target is plain go; `make help` lists them.
GO ?= go
GOLANGCI ?= github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
FUZZTIME ?= 30s

# The packages whose tests take -rewrite.
GOLDEN = ./internal/matrix ./internal/normalize/azureactivity ./internal/normalize/cloudtrail \
  ./internal/normalize/gcpaudit ./internal/rule ./internal/server/api ./internal/trace ./test

# The packages that have goroutines; the core has none, which a test holds.
GOROUTINES = ./cmd/... ./internal/agent/... ./internal/bus/... ./internal/cli/... ./internal/client/... ./internal/daemon/... \
  ./internal/pipeline/... ./internal/report/... ./internal/sensor/... ./internal/server/... ./internal/source/... ./internal/store/...

# Where the fuzz targets are looked for.
FUZZ ?= .

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: build
build: ## static binaries bin/clew and bin/clew-agent
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o bin/clew ./cmd/clew
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o bin/clew-agent ./cmd/clew-agent

.PHONY: test
test: ## all tests, as the README says
	$(GO) test ./...

.PHONY: race
race: ## all that has goroutines, and the recordings, shuffled, with the race detector (needs a C compiler)
	$(GO) test -race -shuffle=on $(GOROUTINES)
	$(GO) test -race -shuffle=on -run Recordings ./test

.PHONY: lint
lint: ## golangci-lint (vet is one of its linters), and the rules' own lint
	$(GO) run $(GOLANGCI) run --allow-parallel-runners ./...
	$(GO) run ./cmd/clew rule lint

.PHONY: rules
rules: ## lint the rules and run their tests
	$(GO) run ./cmd/clew rule lint
	$(GO) run ./cmd/clew rule test

.PHONY: generate
generate: ## rewrite docs/fields.md from the field schema
	$(GO) generate ./...

.PHONY: proto
proto: ## rewrite the Go code and the OpenAPI description of api/clew/v1 (needs buf)
	cd api && buf generate
	sed -i.bak 's#"title": "clew/v1/event.proto"#"title": "clew"#' api/openapi/clew.swagger.json && rm api/openapi/clew.swagger.json.bak

.PHONY: golden
golden: ## rewrite golden files from what the code does now; review the diff
	$(GO) test $(GOLDEN) -rewrite

.PHONY: cluster
cluster: ## attacks and ordinary work on a real control plane, through clew (Linux; builds Kubernetes once)
	cd test/cluster && CGO_ENABLED=0 $(GO) test -count=1 ./...

.PHONY: record
record: ## record the scripts of test/cluster into DIR, one folder each
	cd test/cluster && CGO_ENABLED=0 $(GO) run ./record "$(abspath $(or $(DIR),bin/recordings))"

.PHONY: fuzz
fuzz: ## each fuzz target for FUZZTIME
	@grep -roE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' $(FUZZ) | sort | \
	while IFS=: read -r file func; do \
	  pkg=$$(dirname $$file); f=$${func#func }; echo "$$pkg $$f"; \
	  $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x $$pkg </dev/null || exit 1; \
	done

.PHONY: bench
bench: ## the figures of docs/performance.md
	$(GO) test -run '^$$' -bench . -benchmem ./...

# The compiler whose objects are committed: another version's differ.
BPF_CLANG = 14.0.6
BPF2GO = $(GO) run github.com/cilium/ebpf/cmd/bpf2go@v0.22.0 -cc clang -target amd64 -tags linux -no-global-types
BPF_CFLAGS = -O2 -g -mcpu=v3 -Wall -Werror -Wno-missing-declarations -Wno-unused-function

.PHONY: bpf
bpf: ## rebuild the programs of bpf/ and compare with those committed (needs clang, llvm-strip, libbpf's headers)
	@command -v clang >/dev/null || { echo "make bpf needs clang $(BPF_CLANG), llvm-strip and libbpf's headers (Debian: clang libbpf-dev)"; exit 1; }
	@clang --version | grep -q 'version $(BPF_CLANG)' || echo "not clang $(BPF_CLANG): the objects will differ from those committed"
	cd internal/sensor && GOPACKAGE=sensor $(BPF2GO) -cflags "$(BPF_CFLAGS) -DUSE_BTF" withBTF ../../bpf/sensor.bpf.c
	cd internal/sensor && GOPACKAGE=sensor $(BPF2GO) -cflags "$(BPF_CFLAGS)" withoutBTF ../../bpf/sensor.bpf.c
	git diff --exit-code --stat internal/sensor
