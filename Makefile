# `make test` is all a fresh machine with Go needs: it installs MariaDB when it is missing; the tests start it
# themselves, on a private directory and port. USERAPI_TEST_MYSQL=DSN uses another server instead.

export PATH := $(PATH):/usr/sbin

.PHONY: help test check mariadb

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

test: mariadb ## all tests, with the race detector
	go test -race ./...

check: ## formatting, vet, staticcheck, tidy modules
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo "run gofmt -w ."; exit 1; }
	go vet ./...
	go run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...
	go mod tidy -diff

mariadb:
	@command -v mariadbd >/dev/null || test -n "$$USERAPI_TEST_MYSQL" || ./.ci/install-mariadb
