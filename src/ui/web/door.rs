//! Who may: the names that this server answers to, the token that opens it, and what shows that a change was sent by a page
//! of its own. Nothing here waits or counts; a token is too long to be guessed.

use super::Asked;
use std::net::IpAddr;

/// Shortest token that people may choose.
pub const TOKEN_MIN: usize = 16;

/// The door of a server.
#[derive(Clone, Debug, Default)]
pub struct Door {
    /// Names that it answers to, with their port (`127.0.0.1:7700`).
    pub hosts: Vec<String>,
    /// Where it listens at every address of the machine: its port, at which any address is a name. A name that somebody
    /// pointed at this machine is no address.
    pub any_address: Option<u16>,
    /// The word that opens it; without one everybody who reaches it may look, and nobody may start a run.
    pub token: Option<String>,
    /// What a browser that was let in shows: a random word of this process.
    pub session: String,
    /// What every form of its own pages carries: another one.
    pub csrf: String,
    /// Name of the cookie: cookies know no ports, so the port is in it.
    pub cookie: String,
}

impl Door {
    /// Whether a request names this server as its host.
    pub fn knows(&self, host: &str) -> bool {
        self.hosts.iter().any(|own| own.eq_ignore_ascii_case(host))
            || self.any_address.is_some_and(|port| {
                let address = host.strip_suffix(&format!(":{port}")).unwrap_or("");
                let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
                bare.parse::<IpAddr>().is_ok()
            })
    }

    /// Whether a request comes from a browser that was let in.
    pub fn is_open_to(&self, asked: &Asked) -> bool {
        self.token.is_none()
            || asked.cookie.unwrap_or_default().split(';').any(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or_default();
                name.trim() == self.cookie && same(value.trim().as_bytes(), self.session.as_bytes())
            })
    }

    /// Whether a word is the token.
    pub fn is_token(&self, word: &str) -> bool {
        self.token.as_ref().is_some_and(|token| same(word.trim().as_bytes(), token.as_bytes()))
    }

    /// Whether a form carries what the server's own forms carry.
    pub fn is_own_form(&self, csrf: &str) -> bool {
        same(csrf.as_bytes(), self.csrf.as_bytes())
    }

    /// The cookie that lets a browser in: not for scripts, and not sent along from other sites.
    pub fn let_in(&self) -> String {
        format!("{}={}; Path=/; HttpOnly; SameSite=Strict", self.cookie, self.session)
    }
}

/// Whether two texts are the same and not empty, in a time that does not tell where they differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    !b.is_empty() && a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_its_own_or_addresses() {
        let door = Door { hosts: vec!["localhost:7700".into()], ..Door::default() };
        assert!(door.knows("localhost:7700") && door.knows("LOCALHOST:7700"));
        for other in ["", "localhost", "localhost:7701", "evil.example:7700", "10.0.0.1:7700"] {
            assert!(!door.knows(other), "{other}");
        }
        let door = Door { any_address: Some(7700), ..door };
        for own in ["10.0.0.1:7700", "[fd00::1]:7700", "localhost:7700"] {
            assert!(door.knows(own), "{own}");
        }
        for other in
            ["10.0.0.1:80", "10.0.0.1", "evil.example:7700", "10.0.0.1.evil.example:7700", "[evil]:7700"]
        {
            assert!(!door.knows(other), "{other}");
        }
    }

    #[test]
    fn only_the_session_opens_a_door_with_a_token() {
        let open = Door::default();
        assert!(open.is_open_to(&Asked::default()) && !open.is_token("") && !open.is_own_form(""));
        let door = Door {
            token: Some("a-token-of-the-user".into()),
            session: "s3ss10n".into(),
            cookie: "hotspan_7700".into(),
            ..open
        };
        let is_open = |cookie| door.is_open_to(&Asked { cookie, ..Asked::default() });
        assert!(is_open(Some("hotspan_7700=s3ss10n")) && is_open(Some("a=b; hotspan_7700=s3ss10n")));
        for other in
            [None, Some(""), Some("hotspan_7700="), Some("hotspan_7701=s3ss10n"), Some("hotspan_7700=s3ss10")]
        {
            assert!(!is_open(other), "{other:?}");
        }
        assert!(door.is_token(" a-token-of-the-user ") && !door.is_token("a-token-of-the-use"));
    }
}
