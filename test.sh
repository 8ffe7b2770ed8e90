#!/usr/bin/env bash
# Every check there is, in the order of what fails fastest. Steps can be named:
#   ./test.sh              all of them
#   ./test.sh fmt lint     only these
#   ./test.sh js           the browser SDK alone: clients/js
#   ./test.sh security     gosec, the licenses of dependencies, and the attacks, alone
#   ./test.sh fix          formats the code in place
# Needs go and a C compiler (for the race detector); the tools it installs are
# pinned here and in tools/go.mod. Extra arguments for `go test` go into TESTFLAGS.
# The step js needs Node, Chromium and Firefox as well, and installs them where it can; TEST_CHROMIUM
# and TEST_FIREFOX name those that are elsewhere. Extra arguments for `vitest run` go into JSTESTFLAGS.
set -euo pipefail
cd "$(dirname "$0")"

lint_version=2.15.0
node_version=22.14.0

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
	go tool -modfile=tools/go.mod gotestsum --format pkgname-and-test-fails -- -timeout=30m \
		-race -shuffle=on ${TESTFLAGS:-} ./...
}

# What lint (gosec) and test (licenses, attacks) have about security, alone.
run_security() {
	"$(linter)" run --allow-serial-runners --enable-only gosec ./...
	go test ./test -count=1 -run 'TestLicenses|TestSecurityPage|TestAttack|TestBreaker|Flood'
	go test ./auth -count=1 -run 'Attack|Escapes'
}

# has_node reports whether there is a Node that the tools of clients/js run on, and npm.
has_node() {
	command -v npm >/dev/null && node -e '
		const [major, minor] = process.versions.node.split(".").map(Number);
		process.exit(major > 22 || (major === 22 && minor >= 12) || (major === 20 && minor >= 19) ? 0 : 1);' 2>/dev/null
}

# node_for_js puts Node and npm on the PATH: those that are there, Debian's, or nodejs.org's
# into bin/, whose checksum is that of SHASUMS256.txt of the release.
node_for_js() {
	PATH=$PWD/bin/node-v$node_version/bin:$PATH
	has_node && return
	if command -v apt-get >/dev/null; then
		apt-get install -y -q --no-install-recommends nodejs npm >/dev/null 2>&1 || true
		hash -r
		has_node && return
	fi
	local platform sum archive=$PWD/bin/node.tar.gz
	case $(uname -sm) in
	"Linux x86_64") platform=linux-x64 sum=9d942932535988091034dc94cc5f42b6dc8784d6366df3a36c4c9ccb3996f0c2 ;;
	"Linux aarch64") platform=linux-arm64 sum=8cf30ff7250f9463b53c18f89c6c606dfda70378215b2c905d0a9a8b08bd45e0 ;;
	"Darwin arm64") platform=darwin-arm64 sum=e9404633bc02a5162c5c573b1e2490f5fb44648345d64a958b17e325729a5e42 ;;
	"Darwin x86_64") platform=darwin-x64 sum=6698587713ab565a94a360e091df9f6d91c8fadda6d00f0cf6526e9b40bed250 ;;
	*) platform='' sum='' ;;
	esac
	mkdir -p bin
	if [ -n "$platform" ] &&
		curl -sSfL --retry 2 -o "$archive" "https://nodejs.org/dist/v$node_version/node-v$node_version-$platform.tar.gz"; then
		if ! printf '%s  %s\n' "$sum" "$archive" | shasum_check; then
			rm -f "$archive"
			printf 'test.sh: the Node that came from nodejs.org is not the one that is pinned here; it was deleted\n' >&2
			return 1
		fi
		mkdir -p "bin/node-v$node_version"
		tar -xzf "$archive" -C "bin/node-v$node_version" --strip-components=1
		rm -f "$archive"
		hash -r
		has_node && return
	fi
	printf 'test.sh: clients/js needs Node 20.19, 22.12 or later, and npm, and they cannot be installed here: %s\n' \
		'put them on the PATH (https://nodejs.org), or name the steps to run without js: ./test.sh fmt build vet lint test' >&2
	return 1
}

shasum_check() {
	if command -v sha256sum >/dev/null; then sha256sum -c --status; else shasum -a 256 -c --status; fi
}

# browsers_for_js installs Debian's Chromium and Firefox where there are none. The tests themselves
# say what to do where that cannot be.
browsers_for_js() {
	local missing=()
	[ -n "${TEST_CHROMIUM:-}" ] || command -v chromium chromium-browser google-chrome >/dev/null || missing+=(chromium)
	[ -n "${TEST_FIREFOX:-}" ] || command -v firefox-esr firefox >/dev/null || missing+=(firefox-esr)
	[ ${#missing[@]} -gt 0 ] && command -v apt-get >/dev/null || return 0
	apt-get install -y -q --no-install-recommends "${missing[@]}" >/dev/null 2>&1 || true
}

# runtimes_for_js installs the versions of Node, Deno and Bun that the package is tested in, unless
# they are those that are there: they are large.
runtimes_for_js() {
	cd test/runtimes
	cmp -s package-lock.json node_modules/.installed && return
	npm ci --ignore-scripts --no-audit --no-fund --prefer-offline --loglevel=error
	cp package-lock.json node_modules/.installed
}

# The browser SDK: formatting, types, the package that npm gets, its size, its reference, then
# the tests, in Node, Deno, Bun, Chromium and Firefox, whose numbers come last.
run_js() {
	node_for_js
	browsers_for_js
	(
		cd clients/js
		(runtimes_for_js) &
		local runtimes=$!
		npm ci --no-audit --no-fund --prefer-offline --loglevel=error
		npm run --silent check
		wait "$runtimes" # fails as it did
		# shellcheck disable=SC2086 # JSTESTFLAGS is a list
		npm test --silent -- ${JSTESTFLAGS:-}
	)
}

steps=("$@")
[ ${#steps[@]} -gt 0 ] || steps=(fmt build vet lint js test)
for name in "${steps[@]}"; do
	if ! declare -F "run_$name" >/dev/null; then
		printf 'test.sh: no step %q; the steps are fmt, fix, build, vet, lint, js, security, test\n' "$name" >&2
		exit 2
	fi
	step "$name"
	"run_$name"
done
