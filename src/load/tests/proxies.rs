//! Ways to a target: proxies, UNIX sockets, names, TLS with certificates of one's own.

use super::server::{Log, Seen, Server, friendly, ok, raw, serve};
use super::tls::{CERTIFICATE, KEY, secure};
use super::*;
use crate::record::{FailureClass, Outcome, Protocol};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{RootCertStore, ServerConfig};
use std::sync::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const LOAD: &str = "load: {rate: 50/s, for: 60ms}\nsteps: [GET /a]\n";

/// The heads that a proxy was sent.
type Heads = Arc<Mutex<Vec<String>>>;

/// A proxy that opens tunnels, and asks for what it is sent whole URLs of. With a password it wants `me:pw`.
fn proxy(wants_password: bool) -> (Server, Heads) {
    let heads = Heads::default();
    let seen = Arc::clone(&heads);
    let server = raw(move |mut stream, _| {
        let seen = Arc::clone(&seen);
        async move {
            let Some(head) = read_head(&mut stream).await else { return };
            seen.lock().unwrap().push(head.clone());
            let knows = head.contains("proxy-authorization: Basic bWU6cHc=");
            if wants_password && !knows {
                let no = "HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 3\r\n\r\nwho";
                let _ = stream.write_all(no.as_bytes()).await;
                return;
            }
            let (method, rest) = head.split_once(' ').unwrap();
            let target = rest.split_once(' ').unwrap().0;
            let authority = target.trim_start_matches("http://").split('/').next().unwrap();
            let Ok(mut peer) = TcpStream::connect(authority).await else {
                let _ = stream.write_all(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n").await;
                return;
            };
            if method == "CONNECT" {
                let _ = stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await;
            } else {
                let direct = head.replacen(&format!("http://{authority}"), "", 1);
                let _ = peer.write_all(direct.as_bytes()).await;
            }
            let _ = tokio::io::copy_bidirectional(&mut stream, &mut peer).await;
        }
    });
    (server, heads)
}

/// A SOCKS proxy of version 5; with a password it wants `me` and `pw`. `seen` are the addresses that it was asked for.
fn socks(wants_password: bool) -> (Server, Heads) {
    let heads = Heads::default();
    let seen = Arc::clone(&heads);
    let server = raw(move |mut stream, _| {
        let seen = Arc::clone(&seen);
        async move {
            let _ = speak_socks(&mut stream, wants_password, &seen).await;
        }
    });
    (server, heads)
}

async fn speak_socks(stream: &mut TcpStream, wants_password: bool, seen: &Heads) -> std::io::Result<()> {
    assert_eq!(stream.read_u8().await?, 5);
    let mut methods = vec![0; usize::from(stream.read_u8().await?)];
    stream.read_exact(&mut methods).await?;
    let method = if wants_password { 2 } else { 0 };
    if !methods.contains(&method) {
        return stream.write_all(&[5, 255]).await;
    }
    stream.write_all(&[5, method]).await?;
    if wants_password {
        let mut login = [0; 7];
        stream.read_exact(&mut login).await?;
        let knows = login == *b"\x01\x02me\x02pw";
        stream.write_all(&[1, u8::from(!knows)]).await?;
        if !knows {
            return Ok(());
        }
    }
    let mut asked = [0; 4];
    stream.read_exact(&mut asked).await?;
    let host = match asked[3] {
        1 => std::net::Ipv4Addr::from(stream.read_u32().await?).to_string(),
        3 => {
            let mut name = vec![0; usize::from(stream.read_u8().await?)];
            stream.read_exact(&mut name).await?;
            String::from_utf8(name).unwrap()
        }
        other => panic!("address type {other}"),
    };
    let to = format!("{host}:{}", stream.read_u16().await?);
    seen.lock().unwrap().push(to.clone());
    let Ok(mut peer) = TcpStream::connect(to).await else {
        return stream.write_all(&[5, 5, 0, 1, 0, 0, 0, 0, 0, 0]).await;
    };
    stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
    tokio::io::copy_bidirectional(stream, &mut peer).await.map(drop)
}

#[test]
fn a_socks_proxy_is_asked_for_names_or_addresses() {
    for (scheme, login, named) in [("socks5", "", false), ("socks5h", "", true), ("socks5h", "me:pw@", true)]
    {
        for (target, more, protocol) in
            [("http", "", Protocol::Http1), ("https", "http2: true\n", Protocol::Http2)]
        {
            let server = match target {
                "https" => secure(&[b"h2", b"http/1.1"]),
                _ => friendly(|_| ok("ok")).0,
            };
            let (proxy, asked) = socks(!login.is_empty());
            let port = server.address.port();
            let text = format!(
                "target: {target}://localhost:{port}\ninsecure: true\n{more}{LOAD}http: {{dns: {{family: ipv4}}, proxy: '{scheme}://{login}{}'}}\n",
                proxy.address
            );
            let ran = run(&server, &text);
            assert!(all_answered(&ran), "{text}: {:?}", ran.exchanges);
            assert!(ran.exchanges.iter().all(|e| e.protocol == protocol && !e.url.contains("me")));
            let host = if named { "localhost" } else { "127.0.0.1" };
            assert_eq!(asked.lock().unwrap()[0], format!("{host}:{port}"));
            let opened = ran.exchanges.iter().find(|e| !e.connection_reused).unwrap();
            assert_eq!(opened.phases.resolved.is_some(), !named);
        }
    }
}

#[test]
fn a_socks_proxy_that_refuses_is_named() {
    let server = friendly(|_| ok("ok")).0;
    let (proxy, _asked) = socks(true);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (target, login, said) in [
        (server.address, "", "wants to know who asks"),
        (server.address, "me:no@", "no such user and password"),
        (nobody, "me:pw@", "refuses the proxy's connection"),
    ] {
        let text =
            format!("target: http://{target}\n{LOAD}http: {{proxy: 'socks5://{login}{}'}}\n", proxy.address);
        let (class, words) = failure(&run(&server, &text));
        assert_eq!(class, FailureClass::Connect, "{words}");
        assert!(words.contains(said) && words.contains(&proxy.address.to_string()), "{words}");
    }
}

async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

fn first_line(heads: &Heads) -> String {
    heads.lock().unwrap()[0].lines().next().unwrap().to_string()
}

fn all_answered(ran: &Ran) -> bool {
    !ran.exchanges.is_empty() && ran.exchanges.iter().all(|e| e.outcome == Outcome::Answered(200))
}

fn failure(ran: &Ran) -> (FailureClass, String) {
    let Outcome::Failed { failure, .. } = &ran.exchanges[0].outcome else { panic!("{:?}", ran.exchanges[0]) };
    (failure.class, failure.message.to_string())
}

#[test]
fn a_proxy_is_asked_for_whole_urls() {
    let (server, log) = friendly(|_| ok("ok"));
    let (proxy, heads) = proxy(true);
    let http = format!("http: {{proxy: {{url: 'http://{}', user: me, password: pw}}}}\n", proxy.address);
    let ran = run(&server, &format!("target: http://TARGET\n{LOAD}{http}"));
    assert!(all_answered(&ran), "{:?}", ran.exchanges);
    assert_eq!(first_line(&heads), format!("GET http://{}/a HTTP/1.1", server.address));
    let host = server.address.to_string();
    assert!(log.lock().unwrap().iter().all(|seen| seen.header("host") == host && seen.uri == "/a"));
    assert!(ran.exchanges.iter().all(|e| *e.url == *format!("http://{host}/a")));

    let ran =
        run(&server, &format!("target: http://TARGET\n{LOAD}http: {{proxy: 'http://{}'}}\n", proxy.address));
    assert!(ran.exchanges.iter().all(|e| e.outcome == Outcome::Answered(407) && e.is_error()));
}

#[test]
fn a_proxy_tunnels_what_is_not_its_business() {
    for (target, more, protocol) in [
        ("https", "insecure: true\n", Protocol::Http1),
        ("https", "insecure: true\nhttp2: true\n", Protocol::Http2),
        ("http", "", Protocol::Http1),
        ("http", "http2: true\n", Protocol::Http2),
    ] {
        let server = match target {
            "https" => secure(&[b"h2", b"http/1.1"]),
            _ => friendly(|_| ok("ok")).0,
        };
        let (proxy, heads) = proxy(true);
        let http = format!(
            "http: {{proxy: {{url: 'http://{}', user: me, password: pw, tunnel: true}}}}\n",
            proxy.address
        );
        let ran = run(&server, &format!("target: {target}://TARGET\n{more}{LOAD}{http}"));
        assert!(all_answered(&ran), "{target} {more}: {:?}", ran.exchanges);
        assert!(ran.exchanges.iter().all(|e| e.protocol == protocol));
        assert_eq!(first_line(&heads), format!("CONNECT {} HTTP/1.1", server.address));
        let opened = ran.exchanges.iter().find(|e| !e.connection_reused).unwrap();
        assert!(opened.phases.connected.is_some() && opened.phases.sent >= opened.phases.connected);
        assert_eq!(opened.phases.tls_done.is_some(), target == "https");
    }
}

#[test]
fn a_proxy_that_refuses_is_named() {
    let server = secure(&[b"http/1.1"]);
    let (proxy, _heads) = proxy(true);
    let text = format!(
        "target: https://TARGET\ninsecure: true\n{LOAD}http: {{proxy: 'http://{}'}}\n",
        proxy.address
    );
    let (class, words) = failure(&run(&server, &text));
    assert_eq!(class, FailureClass::Connect);
    assert!(words.contains("(407)") && words.contains(&proxy.address.to_string()), "{words}");
    let scenario = crate::scenario::parse(&text.replace("TARGET", &server.address.to_string()), "t").unwrap();
    let error = check_target(&scenario).unwrap_err().to_string();
    assert!(error.contains("through the proxy") && error.contains("407"), "{error}");

    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = format!(
        "target: https://{nobody}\n{LOAD}http: {{tls: {{insecure: true}}, proxy: {{url: 'http://{}', user: me, password: pw}}}}\n",
        proxy.address
    );
    let (class, words) = failure(&run(&server, &text));
    assert_eq!((class, words.contains("(502)")), (FailureClass::Connect, true), "{words}");
    let text = format!("target: http://TARGET\n{LOAD}http: {{proxy: 'http://{nobody}'}}\n");
    let (class, words) = failure(&run(&server, &text));
    assert_eq!((class, words.contains(&nobody.to_string())), (FailureClass::ConnectRefused, true), "{words}");
}

#[test]
fn a_proxy_that_says_nothing_is_left() {
    let silent = raw(|stream, _| async move {
        tokio::time::sleep(std::time::Duration::from_secs(20)).await;
        drop(stream);
    });
    let text = format!(
        "target: https://TARGET\ninsecure: true\ntimeouts: {{connect: 150ms}}\n{LOAD}http: {{proxy: 'http://{}'}}\n",
        silent.address
    );
    let (class, words) = failure(&run(&silent, &text));
    assert_eq!(class, FailureClass::ConnectTimeout);
    assert!(words.contains("from the proxy within 150"), "{words}");
}

#[test]
#[cfg(unix)]
fn a_unix_socket_stands_for_an_address() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    listener.set_nonblocking(true).unwrap();
    let log = Log::default();
    let seen = Arc::clone(&log);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::UnixListener::from_std(listener).unwrap();
            let accept = async {
                for number in 0.. {
                    let Ok((stream, _)) = listener.accept().await else { return };
                    let answer = Arc::new(|_: &Seen| ok("ok"));
                    tokio::spawn(serve(TokioIo::new(stream), number, Arc::clone(&seen), answer));
                }
            };
            tokio::select! { () = accept => {}, _ = stopped => {} }
        });
    });
    let (other, _) = friendly(|_| ok("wrong"));
    for more in ["", "http2: true\n"] {
        let text = format!("target: http://shop.example\n{LOAD}{more}http: {{unix: '{}'}}\n", path.display());
        let ran = run(&other, &text);
        assert!(all_answered(&ran), "{:?}", ran.exchanges);
        assert!(ran.exchanges.iter().all(|e| e.phases.resolved.is_none()));
        assert_eq!(check_target(&crate::scenario::parse(&text, "t").unwrap()), Ok(()));
    }
    assert!(log.lock().unwrap().iter().all(|seen| {
        let host = seen.header("host");
        host == "shop.example" || host.is_empty()
    }));
    drop(stop);
    serving.join().unwrap();
    std::fs::remove_file(&path).unwrap();
    let text = format!("target: http://shop.example\n{LOAD}http: {{unix: '{}'}}\n", path.display());
    let (class, words) = failure(&run(&other, &text));
    assert!(class == FailureClass::Connect && words.contains("app.sock"), "{words}");
}

/// A server that wants to know its clients, and speaks only these versions.
fn strict(
    versions: &'static [&'static rustls::SupportedProtocolVersion],
) -> (Server, Arc<Mutex<Vec<String>>>) {
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let clients =
        rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    let config = builder
        .with_client_cert_verifier(clients.build().unwrap())
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let names = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&names);
    let server = raw(move |stream, number| {
        let (acceptor, seen) = (acceptor.clone(), Arc::clone(&seen));
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                let name = stream.get_ref().1.server_name().unwrap_or_default().to_string();
                seen.lock().unwrap().push(name);
                serve(TokioIo::new(stream), number, Log::default(), Arc::new(|_: &Seen| ok("ok"))).await;
            }
        }
    });
    (server, names)
}

/// The files of a client's TLS, and a scenario that uses them.
fn with_files(tls: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("both.pem"), format!("{CERTIFICATE}{KEY}")).unwrap();
    std::fs::write(folder.path().join("ca.pem"), CERTIFICATE).unwrap();
    let tls = tls.replace("both.pem", &folder.path().join("both.pem").display().to_string());
    let tls = tls.replace("ca.pem", &folder.path().join("ca.pem").display().to_string());
    (folder, format!("target: https://TARGET\n{LOAD}http: {{tls: {{{tls}}}}}\n"))
}

#[test]
fn clients_prove_themselves_and_trust_whom_they_are_told_to() {
    let (server, names) = strict(rustls::ALL_VERSIONS);
    let (_folder, text) = with_files("certificate: both.pem, roots: ca.pem, server_name: localhost");
    assert!(all_answered(&run(&server, &text)));
    assert!(names.lock().unwrap().iter().all(|name| name == "localhost"));
    let (_folder, text) = with_files("roots: ca.pem");
    let ran = run(&server, &text);
    assert!(ran.exchanges.iter().all(|e| matches!(e.outcome, Outcome::Failed { .. })), "it proves nothing");
    let (_folder, text) = with_files("certificate: both.pem, roots: ca.pem, server_name: shop.example");
    let (class, words) = failure(&run(&server, &text));
    assert_eq!(class, FailureClass::Tls);
    assert!(words.contains("certificate not valid for name"), "{words}");
}

#[test]
fn versions_that_nobody_shares_are_a_failure() {
    static OLD: [&rustls::SupportedProtocolVersion; 1] = [&rustls::version::TLS12];
    let (server, _names) = strict(&OLD);
    let files = "certificate: both.pem, roots: ca.pem";
    let (_folder, text) = with_files(&format!("{files}, max: 1.2"));
    assert!(all_answered(&run(&server, &text)));
    let (_folder, text) = with_files(&format!("{files}, min: 1.3"));
    let (class, words) = failure(&run(&server, &text));
    assert_eq!(class, FailureClass::Tls, "{words}");
}

#[test]
fn a_server_that_does_not_choose_http2_is_a_failure_where_nothing_else_is_allowed() {
    let text = |version: &str| {
        format!("target: https://TARGET\ninsecure: true\n{LOAD}http: {{version: {version}}}\n")
    };
    let server = secure(&[b"h2", b"http/1.1"]);
    for (version, protocol) in [("2", Protocol::Http2), ("auto", Protocol::Http2), ("1.1", Protocol::Http1)] {
        let ran = run(&server, &text(version));
        assert!(all_answered(&ran) && ran.exchanges.iter().all(|e| e.protocol == protocol), "{version}");
    }
    for protocols in [&[b"http/1.1".as_slice()][..], &[]] {
        let server = secure(protocols);
        assert_eq!(failure(&run(&server, &text("2"))).0, FailureClass::Tls);
        let ran = run(&server, &text("auto"));
        assert!(all_answered(&ran) && ran.exchanges.iter().all(|e| e.protocol == Protocol::Http1));
    }
    // Without TLS there is nothing to choose by.
    let (server, _log) = friendly(|_| ok("ok"));
    let ran = run(&server, &text("auto").replace("https", "http"));
    assert!(all_answered(&ran) && ran.exchanges.iter().all(|e| e.protocol == Protocol::Http1));
    let ran = run(&server, &text("2").replace("https", "http"));
    assert!(all_answered(&ran) && ran.exchanges.iter().all(|e| e.protocol == Protocol::Http2));
}

#[test]
fn a_handshake_has_a_limit_of_its_own() {
    let silent = raw(|stream, _| async move {
        tokio::time::sleep(std::time::Duration::from_secs(20)).await;
        drop(stream);
    });
    let text =
        format!("target: https://TARGET\ninsecure: true\ntimeouts: {{connect: 10s, tls: 120ms}}\n{LOAD}");
    let (class, words) = failure(&run(&silent, &text));
    assert_eq!(class, FailureClass::Tls);
    assert!(words.contains("no TLS handshake within 120"), "{words}");
}

#[test]
fn names_are_resolved_as_often_as_it_is_said() {
    let (server, _log) = friendly(|_| ok("ok"));
    let port = server.address.port();
    let asked = |dns: &str| {
        let text = format!(
            "target: http://localhost:{port}\nload: {{users: 1, for: 100ms}}\nthink: 5ms\nsteps: [GET /]\nhttp: {{keep_alive: false, dns: {dns}}}\n"
        );
        let ran = run(&server, &text);
        assert!(all_answered(&ran) && ran.exchanges.len() > 2, "{:?}", ran.exchanges);
        (ran.exchanges.iter().filter(|e| e.phases.resolved.is_some()).count(), ran.exchanges.len())
    };
    let (times, all) = asked("never");
    assert_eq!(times, all);
    assert_eq!(asked("once").0, 1);
    assert_eq!(asked("{cache: 1h, family: ipv4, order: in_turn}").0, 1);
    let text = format!("target: http://localhost:{port}\n{LOAD}http: {{dns: {{family: ipv6}}}}\n");
    let (class, _) = failure(&run(&server, &text));
    assert!(matches!(class, FailureClass::Dns | FailureClass::ConnectRefused), "{class:?}");
}
