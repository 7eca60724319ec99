# Everything here needs Go alone, unless its line says more. Each recipe is the command to type where there is no make.

GO       = go
ARGS     =#                     for test and race: packages and flags of go test; for races: its own flags
FUZZTIME = 30s
ROWS     = token#                which rows bench measures: a suite of bench/, or several with commas
TOOLS    = bin#                 where wasm puts the tools it installs

STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
WAZERO      = github.com/tetratelabs/wazero/cmd/wazero@v1.12.0

# What the WebAssembly module is made of.
WASM = ./token ./revocation ./edge

# The module itself. Without inlining in the runtime it is 20 KiB smaller (brotli), with the collector before the present one another 9; its heap is small.
MODULE = GOEXPERIMENT=nogreenteagc GOOS=wasip1 GOARCH=wasm $(GO) build -buildvcs=false -trimpath -buildmode=c-shared '-ldflags=-s -w -buildid=' '-gcflags=runtime=-l' '-gcflags=internal/runtime/maps=-l'

.PHONY: help demo serve test race lint vet staticcheck fmt wasm module nested parity races lives faults browser vectors differential edge bench fuzz ci

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

demo: ## the main job with real parts, in one minute: log in, count, log out, and an edge that refuses
	$(GO) run -buildvcs=false ./examples/demo

serve: ## a page counter for a browser, on port 3000
	$(GO) run -buildvcs=false ./examples/visits

test: ## all tests; those against a real Redis if there is a redis-server on PATH (ARGS="./token -run=Verify")
	$(GO) run -buildvcs=false ./internal/testrun $(ARGS)

race: ## all tests under the race detector (needs a C compiler)
	CGO_ENABLED=1 $(GO) run -buildvcs=false ./internal/testrun -race -timeout=9m $(ARGS)

lint: vet staticcheck fmt ## vet, staticcheck and fmt

vet: ## what go vet finds
	$(GO) vet ./...

staticcheck: ## what staticcheck finds
	$(GO) run $(STATICCHECK) ./...

fmt: ## Go files that are not formatted
	@files=$$("$$($(GO) env GOROOT)/bin/gofmt" -l .); test -z "$$files" || { echo "not formatted:"; echo "$$files"; exit 1; }

module: ## the edge module in both flavours, and how large they are (needs Node)
	$(MODULE) -tags=edge,hostcrypto -o edge/npm/host.wasm ./edge/module
	$(MODULE) -tags=edge -o edge/npm/own.wasm ./edge/module
	node edge/size.mjs edge/npm/host.wasm 480 edge/npm/own.wasm 620

# Node gets no more of the environment than PATH: the one that js/wasm can hold is small. The installed wazero runs here, so
# it is built before GOOS says otherwise.
wasm: module ## the edge module and its npm package, and what it is made of, tested in WebAssembly (needs Node and npm)
	$(GO) test -tags=hostcrypto ./token ./edge
	$(GO) test -tags=edge ./edge ./internal/lean/...
	$(GO) test -tags=edge,hostcrypto ./edge
	$(MODULE) -tags=edge,es256 -o /dev/null ./edge/module
	@if node -e 'process.exit(parseInt(process.versions.node) >= 20 ? 0 : 1)'; then node --test --test-reporter=spec edge/npm/test/*.test.js; \
	else echo "Node is older than 20: the tests of edge/npm are left out"; case ",$$COUNTERFOIL_REQUIRE," in *,edge,*) exit 1 ;; esac; fi
	@if command -v npm >/dev/null; then cd edge/npm && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error && npm run types; \
	else echo "there is no npm: the types of edge/npm are not checked"; case ",$$COUNTERFOIL_REQUIRE," in *,edge,*) exit 1 ;; esac; fi
	GOOS=js GOARCH=wasm $(GO) build $(WASM)
	GOOS=wasip1 GOARCH=wasm $(GO) build $(WASM)
	GOOS=js GOARCH=wasm $(GO) test -tags=es256 -timeout=3m \
		-exec "env -i 'PATH=$$PATH' '$$($(GO) env GOROOT)/lib/wasm/go_js_wasm_exec'" $(WASM)
	mkdir -p "$(TOOLS)" && GOBIN="$$(cd "$(TOOLS)" && pwd)" $(GO) install $(WAZERO)
	PATH="$$(cd "$(TOOLS)" && pwd):$$PATH" GOWASIRUNTIME=wazero GOOS=wasip1 GOARCH=wasm $(GO) test -tags=es256 -timeout=3m \
		-exec "'$$($(GO) env GOROOT)/lib/wasm/go_wasip1_wasm_exec'" $(WASM)

nested: ## vet and test the nested modules, which have dependencies that the module itself must not have (the browser's: make browser)
	@for dir in $$(find . -mindepth 2 -name go.mod -not -path '*/node_modules/*'); do \
		dir=$$(dirname "$$dir"); echo "$$dir"; \
		(cd "$$dir" && $(GO) vet ./... && { [ "$$dir" = ./internal/browser ] || $(GO) test -timeout=4m ./...; }) || exit 1; \
	done

parity: ## what koa-session 7 does and what the tutorial claims, each shown on Fiber
	cd internal/parity && $(GO) test -count=1 -timeout=3m

races: ## lost updates, undone logouts and needless writes, beside five peers (needs redis-server; Node for two of the peers, which ARGS=-require=node insists on)
	cd internal/races && $(GO) run -buildvcs=false . $(ARGS)

lives: ## 90,000 simulated lives of a cookie jar with 1, 2 and 6 tabs, and 300,000 stolen refresh tokens (minutes)
	$(GO) test -buildvcs=false -count=1 -timeout=60m -v -run='^(TestNoTabIsLoggedOut|TestTheftOutOfStepIsFound)$$' -lives=30000 -thefts=300000 -rapid.checks=300 .

faults: ## real Redis servers broken in every way we know, and a table of what was lost, late or mixed up (needs redis-server; minutes)
	cd internal/faults && COUNTERFOIL_REQUIRE=redis $(GO) test -buildvcs=false -count=1 -timeout=20m -run='^TestFaults$$' -whole

browser: ## what the adapters promise, seen in Chromium (needs Chromium; without it the tests are skipped)
	cd internal/browser && $(GO) test -count=1 -timeout=8m ./...

vectors: ## the token against its own vectors, Wycheproof and the RFCs' examples, a line a corpus
	cd internal/e2e && $(GO) run -buildvcs=false -tags counterfoil_seam ./vectors

differential: ## a million mutated tokens judged by us, golang-jwt, go-jose and jwx (minutes)
	cd internal/e2e && $(GO) run -buildvcs=false ./differential

edge: module ## the edge module in wazero, Node, Deno, Bun, workerd and Chromium: the same answers everywhere, and the logout (minutes; needs Node, npm, Chromium)
	cd internal/e2e && $(GO) run -buildvcs=false ./edge && $(GO) test -count=1 -timeout=4m -v ./edge

bench: ## ratios beside the primitives and the peers, each marked met or short (ROWS=token, store, http, revocation or, after make module, edge)
	cd bench && $(GO) run -buildvcs=false . -rows $(ROWS)

fuzz: ## every fuzz target in turn, each for FUZZTIME (30s)
	@for dir in $$($(GO) list -buildvcs=false -f '{{.Dir}}' ./...); do \
		for target in $$(cat "$$dir"/*_test.go 2>/dev/null | sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p'); do \
			echo "$$dir $$target"; \
			$(GO) test -run='^$$' -fuzz="^$$target$$" -fuzztime=$(FUZZTIME) "$$dir" || exit 1; \
		done; \
	done
	cd internal/e2e && $(GO) test -run='^$$' -fuzz='^FuzzOracle$$' -fuzztime=$(FUZZTIME) ./oracle

ci: ## test, race, lint, wasm, vectors, nested, races, edge, browser and demo, and what they need installed where it is missing (Debian)
	./.ci/run
