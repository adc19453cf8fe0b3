//! Who may be loaded: this machine and private networks without more words; any other host only if its owner says so, and
//! then with a cap. A wrong letter in a host name must not become a flood on somebody's service.

use crate::scenario::{Endpoint, HttpOptions, Scenario};
use anyhow::{Context, bail};
use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs};

/// Most iterations per second, and most users, on a public host without a word about it.
const PUBLIC_RATE: f64 = 1_000.0;
const PUBLIC_USERS: u32 = 500;

/// Where an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// This machine.
    Loopback,
    /// A network that is not the Internet.
    Private,
    /// Cloud metadata services: never a target, and what they answer is secret.
    Metadata,
    /// Anybody's.
    Public,
}

/// Refuses to load hosts that nobody vouched for, and more load than was vouched for. Gives what the load may be
/// multiplied by while it runs.
///
/// # Errors
/// Which host, why, and what to add to the command line.
pub fn check(scenario: &Scenario, owned: &[String], max_rate: Option<f64>) -> anyhow::Result<f64> {
    let mut public = None;
    for (endpoint, http) in reached(scenario) {
        let owns = owned.iter().any(|host| same_host(host, &endpoint.host));
        for address in addresses(endpoint, http, owns)? {
            match place(address) {
                Place::Loopback | Place::Private => {}
                Place::Metadata => {
                    bail!(
                        "{} is the cloud's metadata service ({address}): hotspan never loads it",
                        endpoint.host
                    )
                }
                Place::Public if owns => {
                    public = Some(&endpoint.host);
                }
                Place::Public => bail!(
                    "{} ({address}) is a public host: if it is yours to load, say so with --i-own {}",
                    endpoint.host,
                    endpoint.host
                ),
            }
        }
    }
    let limit = max_rate.unwrap_or(if public.is_some() { PUBLIC_RATE } else { f64::INFINITY });
    let (peak, users) = (scenario.peak_rate(), scenario.most_users());
    if peak > limit {
        bail!(
            "the load reaches {peak:.0} iterations per second, and {limit:.0} are allowed; raise that with --max-rate {peak:.0}"
        );
    }
    if let (Some(host), None) = (public, max_rate)
        && users > PUBLIC_USERS
    {
        bail!(
            "{users} users are more than {PUBLIC_USERS} on the public host {host}; say with --max-rate that this is meant"
        );
    }
    let most_users =
        if public.is_some() && max_rate.is_none() { f64::from(PUBLIC_USERS) } else { f64::INFINITY };
    Ok((limit / peak).min(most_users / f64::from(users)))
}

fn same_host(a: &str, b: &str) -> bool {
    a.trim_end_matches('.').eq_ignore_ascii_case(b.trim_end_matches('.'))
}

/// All hosts that the load reaches, proxies among them. A UNIX socket is on this machine.
fn reached(scenario: &Scenario) -> Vec<(&Endpoint, &HttpOptions)> {
    let mut all = Vec::new();
    for (index, endpoint) in scenario.endpoints.iter().enumerate() {
        let http = scenario.http_of(index);
        if http.unix.is_some() {
            continue;
        }
        if let Some(proxy) = http.proxies.to(endpoint) {
            all.push((&proxy.endpoint, http));
        }
        all.push((endpoint, http));
    }
    all
}

/// The addresses that a host has: those that the scenario says, else those of its name. A name that only a proxy knows is
/// nobody's to judge but the one's who says that it is theirs.
fn addresses(endpoint: &Endpoint, http: &HttpOptions, owns: bool) -> anyhow::Result<Vec<IpAddr>> {
    let name = endpoint.host.trim_end_matches('.');
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(vec![address]);
    }
    let by_proxy = http.proxies.to(endpoint).is_some();
    if let Some(address) = http.resolved(endpoint).filter(|_| !by_proxy) {
        return Ok(vec![address.ip()]);
    }
    let found = (name, endpoint.port).to_socket_addrs();
    if found.is_err() && by_proxy {
        if owns {
            return Ok(Vec::new());
        }
        bail!(
            "{} is a name that only the proxy knows: if it is yours to load, say so with --i-own {}",
            endpoint.host,
            endpoint.host
        );
    }
    let found = found.with_context(|| format!("the host {} has no address", endpoint.host))?;
    Ok(found.map(|address| address.ip()).collect())
}

fn place(address: IpAddr) -> Place {
    // `::ffff:10.0.0.1` is the IPv4 host, not another one.
    let address = address.to_canonical();
    match address {
        _ if address.is_loopback() => Place::Loopback,
        IpAddr::V4(v4) if v4 == Ipv4Addr::new(169, 254, 169, 254) => Place::Metadata,
        IpAddr::V6(v6) if v6.segments() == [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254] => Place::Metadata,
        IpAddr::V4(v4) => {
            // 100.64.0.0/10 is what carriers and clusters use behind their own NAT (RFC 6598).
            let shared = v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64;
            let benchmark = v4.octets()[0] == 198 && v4.octets()[1] & 0xfe == 18;
            if v4.is_private() || v4.is_link_local() || shared || benchmark {
                Place::Private
            } else {
                Place::Public
            }
        }
        IpAddr::V6(v6) => {
            if v6.is_unique_local() || v6.is_unicast_link_local() {
                Place::Private
            } else {
                Place::Public
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(host: &str, load: &str, owned: &[&str], max_rate: Option<f64>) -> Result<(), String> {
        let text = format!("target: http://{host}/\nload: {load}\nsteps: [GET /]\n");
        let scenario = crate::scenario::parse(&text, "t.yaml").unwrap();
        let owned: Vec<String> = owned.iter().map(ToString::to_string).collect();
        check(&scenario, &owned, max_rate).map(|_| ()).map_err(|e| e.to_string())
    }

    #[test]
    fn a_load_may_grow_as_far_as_it_was_allowed() {
        let most = |host: &str, load: &str, max_rate| {
            let text = format!("target: http://{host}/\nload: {load}\nsteps: [GET /]\n");
            check(&crate::scenario::parse(&text, "t.yaml").unwrap(), &[host.into()], max_rate).unwrap()
        };
        assert_eq!(most("127.0.0.1", "{rate: 100/s, for: 1s}", None), f64::INFINITY);
        assert_eq!(most("127.0.0.1", "{rate: 100/s, for: 1s}", Some(150.0)), 1.5);
        assert_eq!(most("93.184.216.34", "{rate: 100/s, for: 1s}", None), 10.0);
        assert_eq!(most("93.184.216.34", "{users: 100, for: 1s}", None), 5.0);
    }

    #[test]
    fn addresses_are_told_apart() {
        for (address, expected) in [
            ("127.0.0.1", Place::Loopback),
            ("127.8.9.10", Place::Loopback),
            ("::1", Place::Loopback),
            ("::ffff:127.0.0.1", Place::Loopback),
            ("10.1.2.3", Place::Private),
            ("172.16.0.1", Place::Private),
            ("192.168.1.1", Place::Private),
            ("100.64.3.4", Place::Private),
            ("198.18.0.1", Place::Private),
            ("fd12::1", Place::Private),
            ("fe80::1", Place::Private),
            ("::ffff:10.0.0.1", Place::Private),
            ("169.254.169.254", Place::Metadata),
            ("::ffff:169.254.169.254", Place::Metadata),
            ("fd00:ec2::254", Place::Metadata),
            ("93.184.216.34", Place::Public),
            ("172.32.0.1", Place::Public),
            ("2606:2800:220::1", Place::Public),
            ("::ffff:8.8.8.8", Place::Public),
        ] {
            assert_eq!(place(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn own_and_private_hosts_need_no_words() {
        let heavy = "{rate: 50000/s, for: 1s}";
        for host in ["127.0.0.1:8080", "localhost:8080", "10.0.0.7", "[::1]:80", "192.168.3.4"] {
            assert_eq!(checked(host, heavy, &[], None), Ok(()), "{host}");
        }
        let capped = checked("127.0.0.1:8080", heavy, &[], Some(100.0)).unwrap_err();
        assert!(capped.contains("--max-rate 50000"), "{capped}");
    }

    #[test]
    fn public_hosts_need_an_owner_and_have_a_cap() {
        let light = "{rate: 10/s, for: 1s}";
        let refused = checked("93.184.216.34", light, &[], None).unwrap_err();
        assert!(refused.contains("--i-own 93.184.216.34"), "{refused}");
        assert_eq!(checked("93.184.216.34", light, &["93.184.216.34"], None), Ok(()));
        let heavy = "{rate: 5000/s, for: 1s}";
        assert!(
            checked("93.184.216.34", heavy, &["93.184.216.34"], None)
                .unwrap_err()
                .contains("1000 are allowed")
        );
        assert_eq!(checked("93.184.216.34", heavy, &["93.184.216.34"], Some(5_000.0)), Ok(()));
        let users = checked("93.184.216.34", "{users: 600, for: 1s}", &["93.184.216.34"], None).unwrap_err();
        assert!(users.contains("600 users"), "{users}");
    }

    #[test]
    fn what_stands_between_counts_too() {
        let with = |http: &str, owned: &[&str]| {
            let text = format!(
                "target: http://shop.invalid/\nload: {{rate: 1/s, for: 1s}}\nsteps: [GET /]\nhttp: {http}\n"
            );
            let scenario = crate::scenario::parse(&text, "t.yaml").unwrap();
            let owned: Vec<String> = owned.iter().map(ToString::to_string).collect();
            check(&scenario, &owned, None).map(|_| ()).map_err(|e| format!("{e:#}"))
        };
        assert!(with("{}", &[]).unwrap_err().contains("no address"));
        assert_eq!(with("{resolve: {shop.invalid: 127.0.0.1}}", &[]), Ok(()));
        assert!(with("{resolve: {shop.invalid: 93.184.216.34}}", &[]).unwrap_err().contains("--i-own"));
        assert_eq!(with("{unix: /run/app.sock}", &[]), Ok(()));
        let refused = with("{proxy: 'http://127.0.0.1:3128'}", &[]).unwrap_err();
        assert!(refused.contains("only the proxy knows"), "{refused}");
        assert_eq!(with("{proxy: 'http://127.0.0.1:3128'}", &["shop.invalid"]), Ok(()));
        let refused = with("{proxy: 'http://93.184.216.34:3128'}", &["shop.invalid"]).unwrap_err();
        assert!(refused.contains("93.184.216.34"), "{refused}");
    }

    #[test]
    fn metadata_services_are_never_loaded() {
        let refused =
            checked("169.254.169.254", "{rate: 1/s, for: 1s}", &["169.254.169.254"], None).unwrap_err();
        assert!(refused.contains("metadata"), "{refused}");
    }
}
