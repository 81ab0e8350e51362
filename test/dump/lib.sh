# shellcheck shell=bash
# What the dump tests share: databases that go away again, queries, TAP.

tests=0 failed=0
databases=()

drop_databases() {
    local db
    for db in "${databases[@]}"; do dropdb --if-exists --force "$db"; done
}

create() { # NAME
    createdb -T template0 -E UTF8 "$1"
    databases+=("$1")
}

# Not by -c: before 15 psql printed the last result alone.
sql() { # DATABASE SQL
    psql -XqAt -v ON_ERROR_STOP=1 -d "$1" <<<"$2"
}

is() { # WHAT GOT EXPECTED
    tests=$((tests + 1))
    if [ "$2" = "$3" ]; then
        echo "ok $tests - $1"
    else
        failed=$((failed + 1))
        echo "not ok $tests - $1"
        diff <(printf '%s\n' "$3") <(printf '%s\n' "$2") | sed 's/^/# /' || true
    fi
}

isnt() { # WHAT GOT UNEXPECTED
    tests=$((tests + 1))
    if [ -n "$2" ] && [ "$2" != "$3" ]; then
        echo "ok $tests - $1"
    else
        failed=$((failed + 1))
        echo "not ok $tests - $1"
        echo "# got '$2'"
    fi
}

finish() {
    echo "1..$tests"
    [ "$failed" -eq 0 ]
}
