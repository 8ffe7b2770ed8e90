#!/usr/bin/env bash
# Every check there is, in the order of what fails fastest. Steps can be named:
#   ./test.sh              all of them
#   ./test.sh fmt lint     only these
#   ./test.sh security     gosec, the licenses of dependencies, and the attacks, alone
#   ./test.sh fix          formats the code in place
# Needs go and a C compiler (for the race detector); the tools it installs are
# pinned here and in tools/go.mod. Extra arguments for `go test` go into TESTFLAGS.
set -euo pipefail
cd "$(dirname "$0")"

lint_version=2.15.0

step() { printf '\n== %s\n' "$*" >&2; }

# linter prints the path of golangci-lint, installing it at the first call.
linter() {
	local bin=$PWD/bin/golangci-lint
	if ! "$bin" version 2>/dev/null | grep -qF "version $lint_version "; then
		GOBIN=$PWD/bin go install "github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v$lint_version"
	fi
	printf '%s\n' "$bin"
}

run_fmt() { "$(linter)" fmt --diff ./...; }

run_fix() { "$(linter)" fmt ./...; }

run_vet() { go vet ./...; }

# Waits for another run on this machine rather than fail.
run_lint() { "$(linter)" run --allow-serial-runners ./...; }

run_build() { go build ./...; }

# nginx_for_tests installs what docs/proxies.md's example is run with. Where that cannot be
# (no Debian, no root), its one test is skipped, and this says so.
nginx_for_tests() {
	command -v nginx >/dev/null && return
	apt-get install -y -q nginx-light >/dev/null 2>&1 ||
		printf 'test.sh: nginx cannot be installed here; TestBehindNginx is skipped\n' >&2
}

# The seed corpora of the fuzz targets run as part of the tests.
run_test() {
	nginx_for_tests
	# shellcheck disable=SC2086 # TESTFLAGS is a list
	go tool -modfile=tools/go.mod gotestsum --format pkgname-and-test-fails -- \
		-race -shuffle=on ${TESTFLAGS:-} ./...
}

# What lint (gosec) and test (licenses, attacks) have about security, alone.
run_security() {
	"$(linter)" run --allow-serial-runners --enable-only gosec ./...
	go test ./test -count=1 -run 'TestLicenses|TestSecurityPage|TestAttack|TestBreaker|Flood'
	go test ./auth -count=1 -run 'Attack|Escapes'
}

steps=("$@")
[ ${#steps[@]} -gt 0 ] || steps=(fmt build vet lint test)
for name in "${steps[@]}"; do
	if ! declare -F "run_$name" >/dev/null; then
		printf 'test.sh: no step %q; the steps are fmt, fix, build, vet, lint, security, test\n' "$name" >&2
		exit 2
	fi
	step "$name"
	"run_$name"
done
