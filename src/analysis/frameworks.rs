//! How a framework serves its requests, by the instrumentation that recorded a span: all in one event loop, or each in a thread or process
//! of its own.

use super::row::{IN_LOOP, IN_WORKERS};
use crate::record::{Span, SpanKind};

/// Parts of the names of instrumentations of frameworks that serve all requests in one event loop.
const LOOPS: [&str; 14] = [
    "asgi",
    "fastapi",
    "starlette",
    "aiohttp",
    "tornado",
    "sanic",
    "instrumentation-http",
    "express",
    "fastify",
    "koa",
    "hapi",
    "nestjs",
    "restify",
    "connect",
];
/// Of such that give each a thread or a process.
const WORKERS: [&str; 11] = [
    "wsgi", ".flask", ".pyramid", ".falcon", "servlet", "tomcat", "jetty", "Rack", "Sinatra", "Rails", "php",
];
/// Django is served in either way.
const EITHER: &str = ".django";
/// What Python's instrumentations record of a request that came over ASGI, in the old conventions and in the new ones: over WSGI a
/// request's whole URL is not known, but its parts.
const WHOLE_URL: [&str; 2] = ["http.url", "url.full"];

/// Parts of the names of threads that are event loops, of which a process has several: Netty's (of Spring WebFlux, Micronaut, Armeria),
/// Vert.x's (of Quarkus).
const LOOP_THREADS: [&str; 5] =
    ["reactor-http-", "eventloop", "EventLoop", "webflux-http-", "armeria-common-worker-"];

/// Whether a thread of this name is an event loop.
pub(super) fn is_loop(thread: &str) -> bool {
    LOOP_THREADS.iter().any(|part| thread.contains(part))
}

/// The flags of a span that tell it.
pub(super) fn flags(span: &Span<'_>) -> u16 {
    if span.kind == SpanKind::Client {
        return 0;
    }
    let runs_in = |frameworks: &[&str]| frameworks.iter().any(|part| span.scope.name.contains(part));
    if span.scope.name.contains(EITHER) && span.kind == SpanKind::Server {
        let asgi = span.attributes.iter().any(|attribute| WHOLE_URL.contains(&attribute.key));
        return if asgi { IN_LOOP } else { IN_WORKERS };
    }
    let flag = |on: bool, flag: u16| if on { flag } else { 0 };
    flag(runs_in(&LOOPS), IN_LOOP) | flag(runs_in(&WORKERS), IN_WORKERS)
}

/// A number of the library that recorded a span, to tell two of them apart. Two that share one are taken for one.
pub(super) fn library(span: &Span<'_>) -> u8 {
    span.scope.name.bytes().fold(0, |sum: u8, byte| sum.wrapping_mul(31).wrapping_add(byte))
}

#[cfg(test)]
mod tests {
    use super::super::testing::blank;
    use super::*;
    use crate::record::{Attribute, Resource, Scope, Value};

    fn of(scope: &str, kind: SpanKind, key: &str) -> u16 {
        let (resource, scope) = (Resource::default(), Scope { name: scope, ..Scope::default() });
        let attributes = [Attribute { key, value: Value::Str("http://shop/") }];
        flags(&Span { kind, attributes: &attributes, ..blank(&resource, &scope) })
    }

    #[test]
    fn django_runs_in_a_loop_where_it_is_served_over_asgi() {
        const DJANGO: &str = "opentelemetry.instrumentation.django";
        assert_eq!(of(DJANGO, SpanKind::Server, "http.url"), IN_LOOP);
        assert_eq!(of(DJANGO, SpanKind::Server, "url.full"), IN_LOOP);
        assert_eq!(of(DJANGO, SpanKind::Server, "http.target"), IN_WORKERS);
        assert_eq!(of("opentelemetry.instrumentation.flask", SpanKind::Server, "http.url"), IN_WORKERS);
        assert_eq!(of("opentelemetry.instrumentation.starlette", SpanKind::Internal, "http.target"), IN_LOOP);
        assert_eq!(of("opentelemetry.instrumentation.aiohttp_client", SpanKind::Client, "http.url"), 0);
    }

    #[test]
    fn libraries_around_a_statement_have_numbers_of_their_own() {
        let number = |name: &str| {
            let (resource, scope) = (Resource::default(), Scope { name, ..Scope::default() });
            library(&blank(&resource, &scope))
        };
        let mappers = ["sqlalchemy", "tortoiseorm"];
        for driver in
            ["asyncpg", "psycopg", "psycopg2", "pymysql", "mysqlclient", "sqlite3", "aiopg", "dbapi"]
        {
            for mapper in mappers {
                let of = |name: &str| number(&format!("opentelemetry.instrumentation.{name}"));
                assert_ne!(of(driver), of(mapper), "{driver} {mapper}");
            }
        }
    }
}
