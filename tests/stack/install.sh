# What the suites need, installed once into $cache and found there again: sourced by tests/stack/run.
#
# Each server is a program of its own below $cache, named by its version, so that a change of a version makes a new one
# and nothing stale is ever run. Servers in Go are built from their modules by the ordinary `go` command, one package at a
# time (HOTSPAN_STACK_JOBS raises that). Whatever cannot be installed is said and fails; nothing is skipped in silence.

prometheus_version=v0.316.0 # of the module; the program calls itself 3.16.0
jaeger_version=v1.76.0      # of the module; its cmd/jaeger is Jaeger v2
java_agent_version=2.16.0
zipkin_version=3.5.1
clickhouse_version=26.9.0          # of chDB, which is ClickHouse's engine as a library
clickhouse_exporter_version=v0.165.1 # of the Collector's exporter, whose tables are made
go_jobs=${HOTSPAN_STACK_JOBS:-1}

say() { printf '%s\n' "$*"; }

# Runs a step that may take minutes: one line before, one after, its output only where it fails. In a shell of its own: a
# step that goes into its working folder, which is removed afterwards, must not leave the suites standing there.
long_step() {
    local what=$1 began=$SECONDS log
    shift
    log=$(mktemp)
    say "$what (once; kept in $cache)"
    if ("$@") >"$log" 2>&1; then
        say "  done in $((SECONDS - began)) s"
        rm -f "$log"
    else
        tail -n 40 "$log" | sed 's/^/  | /'
        say "  failed after $((SECONDS - began)) s; the whole output is in $log"
        return 1
    fi
}

# One environment for each set of pinned versions and interpreter; $venv is where it is. It cannot be moved once it is made,
# so it is made in place, and whole only with its last file.
need_python() {
    local lock code=0
    venv=$cache/venv-$({ cat "$here/requirements.txt"; "$python" -VV; } | sha256sum | cut -c1-12)
    [ -e "$venv/.complete" ] && return
    mkdir -p "$cache"
    exec {lock}>"$venv.lock"
    flock "$lock"
    [ -e "$venv/.complete" ] || long_step "installing the Python environment of the suites" make_python || code=1
    exec {lock}>&-
    return "$code"
}

make_python() {
    rm -rf "$venv"
    "$python" -m venv "$venv" || return 1
    "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$here/requirements.txt" || return 1
    : >"$venv/.complete"
}

# Debian packages are looked for first; installing them needs root, and says what it does.
apt_updated=
apt_install() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || {
        say "not root, or no apt-get: install $* with your package manager"
        return 1
    }
    say "installing Debian packages: $*"
    [ -n "$apt_updated" ] || apt-get update -qq >/dev/null || return 1
    apt_updated=1
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

need_postgresql() {
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || command -v initdb >/dev/null || apt_install postgresql
}

# The programs alone: these packages start no service.
need_mariadb() {
    { [ -x /usr/sbin/mariadbd ] && command -v my_print_defaults >/dev/null; } || apt_install mariadb-server-core mariadb-client-core
}

# nginx is unpacked, not installed: no service is started and nothing on the machine changes.
need_nginx() {
    if command -v nginx >/dev/null; then
        HOTSPAN_NGINX=$(command -v nginx)
    elif [ -x "$cache/nginx/usr/sbin/nginx" ]; then
        HOTSPAN_NGINX=$cache/nginx/usr/sbin/nginx
    else
        command -v apt-get >/dev/null || { say "no nginx and no apt-get: install nginx with your package manager"; return 1; }
        say "unpacking Debian's nginx into $cache/nginx"
        [ -n "$apt_updated" ] || [ "$(id -u)" != 0 ] || apt-get update -qq >/dev/null || return 1
        apt_updated=1
        mkdir -p "$cache/nginx"
        (cd "$cache/nginx" && apt-get download -qq nginx >/dev/null 2>&1 && dpkg-deb -x nginx_*.deb .) || return 1
        HOTSPAN_NGINX=$cache/nginx/usr/sbin/nginx
    fi
    export HOTSPAN_NGINX
    "$HOTSPAN_NGINX" -v 2>/dev/null || { say "$HOTSPAN_NGINX does not start"; return 1; }
}

need_go() {
    if ! command -v go >/dev/null; then
        say "no Go toolchain (1.25 or later): install one, e.g. Debian's golang-go from backports"
        return 1
    fi
}

# Makes $cache/$1 by running "$2 FOLDER" in a new folder beside it, moved into place only when all went well. What a step
# downloaded and unpacked stays in Go's own module cache.
build_into() {
    local name=$1 step=$2 work lock code=0
    [ -d "$cache/$name" ] && return
    mkdir -p "$cache"
    # Two runs at once share the cache: the second waits for what the first builds.
    exec {lock}>"$cache/.$name.lock"
    flock "$lock"
    if [ -d "$cache/$name" ]; then
        exec {lock}>&-
        return
    fi
    work=$(mktemp -d "$cache/.building.XXXXXX") || return 1
    chmod 755 "$work"
    if long_step "building $name" "$step" "$work"; then
        rm -rf "$work/source"
        mv "$work" "$cache/$name" || code=1
    else
        rm -rf "$work"
        code=1
    fi
    exec {lock}>&-
    return "$code"
}

# `go build` of programs of a module, in an empty module of our own: `go install MODULE@VERSION` refuses modules with
# `replace` lines. Usage: go_programs FOLDER MODULE VERSION TAGS PROGRAM...
go_programs() {
    local folder=$1 module=$2 version=$3 tags=$4 program
    shift 4
    mkdir -p "$folder/source" && cd "$folder/source" || return 1
    go mod init build.local || return 1
    for program in "$@"; do
        go get -tool "$module/cmd/$program@$version" || return 1
    done
    for program in "$@"; do
        CGO_ENABLED=0 go build -p "$go_jobs" -buildvcs=false -trimpath -tags "$tags" -ldflags='-s -w' \
            -o "$folder/$program" "$module/cmd/$program" || return 1
    done
}

# The Collector, from the builder's manifest in collector/. The builder writes the sources; the modules are then asked
# for by version instead of by the builder's own `go mod tidy`, which also wants what only the modules' tests need.
need_collector() {
    need_go || return 1
    local manifest=$here/../../collector/builder.yaml name
    name=otelcol-$({ cat "$manifest"; go version; } | sha256sum | cut -c1-12)
    build_into "$name" make_collector || return 1
    export HOTSPAN_OTELCOL=$cache/$name/otelcol-hotspan
}

make_collector() {
    local folder=$1 manifest=$here/../../collector/builder.yaml version
    version=$(awk '$1 == "version:" { print $2 }' "$manifest")
    mkdir -p "$folder/source" || return 1
    sed "s#output_path:.*#output_path: $folder/source#" "$manifest" >"$folder/builder.yaml" || return 1
    (cd "$folder" && go run "go.opentelemetry.io/collector/cmd/builder@v$version" --config builder.yaml \
        --skip-get-modules --skip-compilation) || return 1
    cd "$folder/source" || return 1
    rm -f go.mod go.sum
    go mod init otelcol-hotspan || return 1
    # shellcheck disable=SC2046 # one word for each module
    go get $(awk '$2 == "gomod:" { print $3 "@" $4 }' "$manifest") "go.opentelemetry.io/collector/otelcol@v$version" || return 1
    CGO_ENABLED=0 go build -mod=mod -p "$go_jobs" -buildvcs=false -trimpath -ldflags='-s -w' -o "$folder/otelcol-hotspan" .
}

# Prometheus without its web pages and without service discovery: the server, and promtool. (Debian's is too old to take
# in OTLP.)
need_prometheus() {
    need_go || return 1
    local name=prometheus-$prometheus_version
    build_into "$name" make_prometheus || return 1
    export HOTSPAN_PROMETHEUS=$cache/$name/prometheus HOTSPAN_PROMTOOL=$cache/$name/promtool
}

make_prometheus() {
    go_programs "$1" github.com/prometheus/prometheus "$prometheus_version" remove_all_sd,netgo prometheus promtool
}

# Jaeger v2, all in one, in memory; without its web pages.
need_jaeger() {
    need_go || return 1
    local name=jaeger-$jaeger_version
    build_into "$name" make_jaeger || return 1
    export HOTSPAN_JAEGER=$cache/$name/jaeger
}

make_jaeger() {
    go_programs "$1" github.com/jaegertracing/jaeger "$jaeger_version" netgo jaeger
}

# Zipkin's server, one file.
need_zipkin() {
    local tool name=zipkin-$zipkin_version
    for tool in java mvn; do
        command -v "$tool" >/dev/null || { say "no $tool: install a JDK (17 or later) with Maven"; return 1; }
    done
    build_into "$name" make_zipkin || return 1
    export HOTSPAN_ZIPKIN=$cache/$name/zipkin-server-$zipkin_version-exec.jar
}

make_zipkin() {
    cd "$1" && mvn --batch-mode --quiet org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy \
        -Dartifact="io.zipkin:zipkin-server:$zipkin_version:jar:exec" -DoutputDirectory="$1"
}

# ClickHouse's engine in an environment of its own (half a gigabyte), and the statements with which the exporter makes its tables.
need_clickhouse() {
    need_go || return 1
    local name=clickhouse-$clickhouse_version-$clickhouse_exporter_version
    build_into "$name" make_clickhouse || return 1
    export HOTSPAN_CLICKHOUSE=$cache/$name
}

make_clickhouse() {
    local exporter=github.com/open-telemetry/opentelemetry-collector-contrib/exporter/clickhouseexporter
    "$python" -m venv "$1/venv" || return 1
    "$1/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps "chdb-core==$clickhouse_version" || return 1
    cd "$1" && go mod download "$exporter@$clickhouse_exporter_version" || return 1
    cp -R "$(go env GOMODCACHE)/$exporter@$clickhouse_exporter_version/internal/sqltemplates" "$1/" && chmod -R u+w "$1/sqltemplates"
}

# The senders of suite_senders.py, one for each language.
need_senders() {
    need_go || return 1
    local name tool
    for tool in node npm java javac mvn cargo; do
        command -v "$tool" >/dev/null || { say "no $tool: install Node.js with npm, a JDK with Maven, and Rust"; return 1; }
    done
    name=senders-$({ cat "$here"/senders/*/*.* "$here"/senders/rust/src/*; go version; node --version; javac -version; rustc --version; } 2>&1 | sha256sum | cut -c1-12)
    build_into "$name" make_senders || return 1
    export HOTSPAN_SENDERS=$cache/$name
}

make_senders() {
    cp -R "$here/senders/go" "$1/source" || return 1
    (cd "$1/source" && CGO_ENABLED=0 go build -p "$go_jobs" -buildvcs=false -trimpath -ldflags='-s -w' -o "$1/sender" .) || return 1
    cp -R "$here/senders/node" "$1/node" || return 1
    (cd "$1/node" && npm ci --no-audit --no-fund --ignore-scripts) || return 1
    cp -R "$here/senders/java" "$1/java" || return 1
    (cd "$1/java" && mvn --batch-mode --quiet dependency:copy-dependencies -DoutputDirectory=jars &&
        javac -cp 'jars/*' -d classes Send.java) || return 1
    (cd "$here/senders/rust" && cargo build --quiet --locked --jobs "$go_jobs" --target-dir "$1/source/rust") || return 1
    cp "$1/source/rust/debug/sender" "$1/sender-rust" && strip --strip-debug "$1/sender-rust"
}

# The bookshop on Spring Boot, and the OpenTelemetry Java agent that it runs under.
need_java_app() {
    local name tool
    for tool in java javac mvn; do
        command -v "$tool" >/dev/null || { say "no $tool: install a JDK (17 or later) with Maven"; return 1; }
    done
    name=java-app-$({ cat "$here"/java_app/*.* "$here"/java_app/shop/*; echo "$java_agent_version"; javac -version; } 2>&1 | sha256sum | cut -c1-12)
    build_into "$name" make_java_app || return 1
    export HOTSPAN_STACK_JAVA=$cache/$name
}

make_java_app() {
    cp -R "$here/java_app" "$1/source" || return 1
    (cd "$1/source" && mvn --batch-mode --quiet dependency:copy-dependencies -DoutputDirectory="$1/jars" &&
        mvn --batch-mode --quiet dependency:copy -DoutputDirectory="$1/agent" \
            -Dartifact="io.opentelemetry.javaagent:opentelemetry-javaagent:$java_agent_version" &&
        javac -parameters -cp "$1/jars/*" -d "$1/classes" shop/Bookshop.java &&
        cp application.properties "$1/classes/")
}

# Reads compose files as Docker Compose does.
need_compose_check() {
    need_go || return 1
    local name
    name=compose-check-$({ cat "$here"/compose_check/*; go version; } | sha256sum | cut -c1-12)
    build_into "$name" make_compose_check || return 1
    export HOTSPAN_COMPOSE_CHECK=$cache/$name/compose-check
}

make_compose_check() {
    cp -R "$here/compose_check" "$1/source" || return 1
    (cd "$1/source" && CGO_ENABLED=0 go build -p "$go_jobs" -buildvcs=false -trimpath -ldflags='-s -w' -o "$1/compose-check" .)
}

# The packages of the Node application, exactly as its lock file has them, outside of the project.
need_node() {
    command -v node >/dev/null && command -v npm >/dev/null || apt_install nodejs npm || return 1
    local wanted
    wanted=$({ cat "$here/express_app/package-lock.json"; node --version; } | sha256sum | cut -d' ' -f1)
    if [ "$(cat "$cache/node/.made-from" 2>/dev/null || true)" != "$wanted" ]; then
        say "installing the packages of the Node application into $cache/node"
        rm -rf "$cache/node"
        mkdir -p "$cache/node"
        cp "$here/express_app/package.json" "$here/express_app/package-lock.json" "$cache/node/"
        (cd "$cache/node" && npm ci --no-fund --no-audit --ignore-scripts --loglevel=error) || return 1
        printf '%s' "$wanted" >"$cache/node/.made-from"
    fi
    export HOTSPAN_STACK_NODE=$cache/node
}

# A browser, and what drives it (puppeteer) and looks for barriers (axe), exactly as the lock file has them.
need_chromium() {
    command -v chromium >/dev/null || apt_install chromium || return 1
    command -v node >/dev/null && command -v npm >/dev/null || apt_install nodejs npm || return 1
    HOTSPAN_CHROMIUM=$(command -v chromium)
    local name
    name=pages-$({ cat "$here/pages/package-lock.json"; node --version; } | sha256sum | cut -c1-12)
    build_into "$name" make_pages || return 1
    export HOTSPAN_CHROMIUM HOTSPAN_STACK_PAGES=$cache/$name
}

# The schema of JUnit files that Jenkins' xUnit plugin reads them by: pytest's source distribution carries it (MIT), and no
# package has it alone. Validated by libxml2.
junit_schema_of=pytest-8.4.2
need_junit_schema() {
    command -v xmllint >/dev/null || apt_install libxml2-utils || return 1
    build_into "junit-schema-$junit_schema_of" make_junit_schema || return 1
    export HOTSPAN_JUNIT_XSD=$cache/junit-schema-$junit_schema_of/junit-10.xsd
}

make_junit_schema() {
    mkdir -p "$1/source" || return 1
    "$venv/bin/pip" download --quiet --disable-pip-version-check --no-deps --no-binary pytest --dest "$1/source" \
        "${junit_schema_of/-/==}" || return 1
    tar -xzf "$1/source/$junit_schema_of.tar.gz" -O "$junit_schema_of/testing/example_scripts/junit-10.xsd" >"$1/junit-10.xsd"
}

make_pages() {
    cp "$here/pages/package.json" "$here/pages/package-lock.json" "$1/"
    (cd "$1" && npm ci --no-fund --no-audit --ignore-scripts --loglevel=error)
}
