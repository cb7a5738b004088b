# make         both binaries, in bin/
# make demo    what Leash does, shown in ten seconds; make picture records it for the README
# make test    everything: vet for each system, staticcheck, all tests
# make vm      tests on Debian's kernels 6.1 and 6.12, emulated; make test runs them too
# make bench   the figures, side by side with other tools; writes docs/benchmarks.md
# make chaos   short lives of real processes, killed at random (CHAOS_LIVES, CHAOS_SEED)
# make soak    an hour of a pool of 100 workers that come and go (LEASH_SOAK), and the simulators
#              for half an hour, with games that no run has played
# make cross   both binaries for six systems, in bin/cross/, with checksums
# make package packages of all kinds, in dist/; make release-dry-run checks them too
.PHONY: build demo picture test check vm bench chaos soak cross package release-dry-run clean

# What --version says; the same sources of the same commit, the same words.
STAMP = $(shell scripts/version.sh)
# Functions at multiples of 16 bytes, not 32 as on amd64: 57 kB less of 5.1 MB.
SMALL = -s -w -funcalign=16
GOFLAGS_BUILD = -trimpath -ldflags="$(SMALL) $(STAMP)"
# One that has no host: it builds, and says so.
OTHER = freebsd/amd64
SYSTEMS = linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
# How many interleavings the simulator plays.
LEASH_SIM_N ?= 1000000
# How long make test plays with real processes.
LEASH_CHAOS_TIME ?= 2m

build:
	CGO_ENABLED=0 go build $(GOFLAGS_BUILD) -o bin/ ./cmd/...

demo: build
	python3 demo/demo.py

picture:
	python3 demo/record.py

check:
	-scripts/retry.sh go mod download # else the next step says what is missing
	@test -z "$$(gofmt -l .)" || { echo "not gofmt-ed:"; gofmt -l .; exit 1; }
	@for s in $(SYSTEMS) $(OTHER); do \
		echo "vet and build $$s"; \
		GOOS=$${s%/*} GOARCH=$${s#*/} CGO_ENABLED=0 go vet ./... || exit 1; \
		GOOS=$${s%/*} GOARCH=$${s#*/} CGO_ENABLED=0 go build -o /dev/null ./cmd/watchdog || exit 1; \
		GOOS=$${s%/*} GOARCH=$${s#*/} CGO_ENABLED=0 go build -o /dev/null ./cmd/reaper || exit 1; \
	done
	-cd bench && ../scripts/retry.sh go mod download
	GOOS=linux CGO_ENABLED=0 go vet -C bench ./...
	-cd packaging && ../scripts/retry.sh go mod download
	GOOS=linux CGO_ENABLED=0 go vet -C packaging ./...
	GOBIN=$(CURDIR)/bin scripts/retry.sh go install $(STATICCHECK)
	@for s in linux darwin windows; do \
		echo "staticcheck $$s"; GOOS=$$s CGO_ENABLED=0 bin/staticcheck ./... || exit 1; \
	done
	cd bench && GOOS=linux CGO_ENABLED=0 ../bin/staticcheck ./...
	cd packaging && GOOS=linux CGO_ENABLED=0 ../bin/staticcheck ./...

test: check
	scripts/test-deps.sh
	@# Not from go's cache: it does not know that tests of the whole build the programs.
	LEASH_SIM_N=$(LEASH_SIM_N) LEASH_CHAOS_TIME=$(LEASH_CHAOS_TIME) go test -count=1 -timeout 60m ./...
	go test -C bench -count=1 ./...
	go test -C packaging -count=1 ./...
	scripts/wine/test.sh
	$(MAKE) vm

# What is given to it as VM_FLAGS: docs/vm-tests.md.
vm:
	scripts/test-deps.sh
	CGO_ENABLED=0 go build -o bin/vm ./e2e/vm
	bin/vm $(VM_FLAGS)

bench:
	go run -C bench . -page ../docs/benchmarks.md

# As root, on Linux. A seed without a number of lives is one life, played 20 times.
chaos: build
	CGO_ENABLED=0 go build -trimpath -o bin/chaos ./e2e/chaos
	bin/chaos $(if $(CHAOS_SEED),-seed $(CHAOS_SEED)) $(if $(CHAOS_LIVES),-lives $(CHAOS_LIVES),$(if $(CHAOS_SEED),-lives 1 -again 20)) \
		$(if $(CHAOS_SKIP),-skip $(CHAOS_SKIP)) $(if $(CHAOS_JOBS),-jobs $(CHAOS_JOBS))

# make test plays the same games each time, so that it fails for what has changed.
soak:
	LEASH_SOAK=$${LEASH_SOAK:-1h} go test -count=1 -timeout 0 ./e2e/pool -run 'TestSoak$$' -v
	LEASH_SIM_N=25000000 go test -count=1 -timeout 0 ./watch -run 'TestSimulator$$' -v -sim.base=0
	LEASH_SIM_N=50000000 go test -count=1 -timeout 0 ./reap -run 'TestSimulator$$' -v -reap.base=0

# The same sources give the same bytes, in whatever folder and from whatever
# repository (from an archive of git's): no path, no build ID, no setting of this
# machine goes in, and of the repository the commit and its tag alone.
cross:
	rm -rf bin/cross
	mkdir -p bin/cross
	@stamp="$(STAMP)"; for s in $(SYSTEMS); do for p in watchdog reaper; do \
		os=$${s%/*} arch=$${s#*/} suffix=; \
		[ $$os != windows ] || suffix=.exe; \
		echo "bin/cross/$$p-$$os-$$arch$$suffix"; \
		GOOS=$$os GOARCH=$$arch GOAMD64=v1 GOARM64=v8.0 GOEXPERIMENT= GOFLAGS= CGO_ENABLED=0 \
			go build -trimpath -buildvcs=false -ldflags="$(SMALL) -buildid= $$stamp" \
			-o bin/cross/$$p-$$os-$$arch$$suffix ./cmd/$$p || exit 1; \
	done; done
	@cd bin/cross && export LC_ALL=C && if command -v sha256sum >/dev/null; then sha256sum watchdog-* reaper-*; \
		else shasum -a 256 watchdog-* reaper-*; fi >SHA256SUMS.new && mv SHA256SUMS.new SHA256SUMS

# What a release is made of: deb, rpm, apk, archives, npm, wheels, an image and more, the same
# bytes for the same sources. docs/releasing.md has the rest.
package: cross
	-scripts/retry.sh go -C packaging mod download # else the next step says what is missing
	CGO_ENABLED=0 go -C packaging run .

release-dry-run: package
	scripts/release-check.sh

clean:
	rm -rf bin dist
