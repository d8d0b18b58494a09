# Every target is plain go; `make help` lists them.
GO ?= go
GOLANGCI ?= github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
FUZZTIME ?= 30s

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: build
build: ## static binary in bin/clew
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o bin/clew ./cmd/clew

.PHONY: test
test: ## all tests, as the README says
	$(GO) test ./...

.PHONY: race
race: ## all tests, shuffled, with the race detector (needs a C compiler)
	$(GO) test -race -shuffle=on ./...

.PHONY: lint
lint: ## vet, golangci-lint, and the rules' own lint
	$(GO) vet ./...
	$(GO) run $(GOLANGCI) run ./...
	$(GO) run ./cmd/clew rule lint

.PHONY: rules
rules: ## lint the rules and run their tests
	$(GO) run ./cmd/clew rule lint
	$(GO) run ./cmd/clew rule test

.PHONY: generate
generate: ## rewrite docs/fields.md from the field schema
	$(GO) generate ./...

.PHONY: golden
golden: ## rewrite golden files from what the code does now; review the diff
	$(GO) test ./test/... -rewrite

.PHONY: fuzz
fuzz: ## each fuzz target for FUZZTIME
	@for pkg in $$($(GO) list ./...); do \
	  for f in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
	    echo "$$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x $$pkg || exit 1; \
	  done; \
	done

.PHONY: bench
bench: ## the figures of docs/performance.md
	$(GO) test -run '^$$' -bench . -benchmem ./...
