//! What one process of the demo is to do, and the same as arguments: the launcher writes them, `demo-service` reads them.

use super::database::Database;
use super::error::DemoError;
use super::fault::Faults;
use super::telemetry::Telemetry;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Holds the PostgreSQL URL for a child process: arguments are readable by every user of a machine, and it may hold a password.
pub(super) const DATABASE_URL: &str = "HOTSPAN_DEMO_DATABASE_URL";

/// Which service of the demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The web front.
    Shop,
    /// The second traced service.
    Inventory,
    /// The payment API, without spans.
    Payment,
    /// The cache, a small server that speaks the Redis protocol, without spans.
    Cache,
}

impl Role {
    /// All roles, in the order in which they are started.
    pub const ALL: [Role; 4] = [Role::Cache, Role::Payment, Role::Inventory, Role::Shop];

    /// Stable name: the argument, and the `service.name` of spans.
    pub const fn name(self) -> &'static str {
        match self {
            Role::Shop => "shop",
            Role::Inventory => "inventory",
            Role::Payment => "payment",
            Role::Cache => "cache",
        }
    }

    /// The role of that name.
    ///
    /// # Errors
    /// [`DemoError::UnknownRole`].
    pub fn parse(name: &str) -> Result<Role, DemoError> {
        let role = Role::ALL.into_iter().find(|role| role.name() == name);
        role.ok_or_else(|| DemoError::UnknownRole(name.to_owned()))
    }
}

/// A service and what it needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Service {
    /// The web front.
    Shop {
        /// The filled database.
        database: Database,
        /// Where the cache listens.
        cache: SocketAddr,
        /// Base URL of the inventory.
        inventory_url: String,
        /// Base URL of the payment API.
        payment_url: String,
        /// Directory of the static files; they are written if missing.
        assets: PathBuf,
    },
    /// The inventory.
    Inventory {
        /// The filled database.
        database: Database,
    },
    /// The payment API.
    Payment,
    /// The cache.
    Cache,
}

impl Service {
    /// Which one.
    pub const fn role(&self) -> Role {
        match self {
            Service::Shop { .. } => Role::Shop,
            Service::Inventory { .. } => Role::Inventory,
            Service::Payment => Role::Payment,
            Service::Cache => Role::Cache,
        }
    }
}

/// One process of the demo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServeOptions {
    /// Where to listen; port 0 for any free one.
    pub listen: SocketAddr,
    /// What to be.
    pub service: Service,
    /// Faults at the start.
    pub faults: Faults,
    /// Where spans go. Payment and cache never send any.
    pub telemetry: Telemetry,
}

impl ServeOptions {
    /// The arguments for [`from_args`](ServeOptions::from_args), and the database URL for the environment, if there is one.
    pub(super) fn to_args(&self) -> (Vec<String>, Option<String>) {
        let mut args = vec![self.service.role().name().to_owned()];
        let mut option = |name: &str, value: String| args.extend([name.to_owned(), value]);
        option("--listen", self.listen.to_string());
        option("--faults", self.faults.to_string());
        match &self.telemetry {
            Telemetry::Otlp { endpoint: None } => {}
            Telemetry::Otlp { endpoint: Some(endpoint) } => option("--otlp-endpoint", endpoint.clone()),
            Telemetry::Off => option("--otlp-endpoint", "off".to_owned()),
        }
        let database = match &self.service {
            Service::Shop { database, cache, inventory_url, payment_url, assets } => {
                option("--cache", cache.to_string());
                option("--inventory", inventory_url.clone());
                option("--payment", payment_url.clone());
                option("--assets", assets.to_string_lossy().into_owned());
                Some(database)
            }
            Service::Inventory { database } => Some(database),
            Service::Payment | Service::Cache => None,
        };
        let url = match database {
            Some(Database::Sqlite { path }) => {
                option("--sqlite", path.to_string_lossy().into_owned());
                None
            }
            Some(Database::Postgres { url }) => Some(url.clone()),
            None => None,
        };
        (args, url)
    }

    /// Reads `ROLE --name value …` as [`Demo`](super::Demo) writes it: `--listen ADDR`, `--faults LIST`,
    /// `--otlp-endpoint URL|off`; shop and inventory `--sqlite FILE`, or else `database_url`; shop
    /// `--cache ADDR --inventory URL --payment URL --assets DIR`.
    ///
    /// # Errors
    /// Names the role, the argument and what was expected.
    pub fn from_args(args: &[String], database_url: Option<String>) -> Result<ServeOptions, DemoError> {
        let (role, rest) = args.split_first().ok_or_else(|| DemoError::UnknownRole(String::new()))?;
        let role = Role::parse(role)?;
        let mut given = Given::read(role, rest)?;
        let listen = given.take("--listen")?.unwrap_or_else(|| "127.0.0.1:0".to_owned());
        let listen = given.address("--listen", &listen)?;
        let faults = Faults::parse(&given.take("--faults")?.unwrap_or_default())?;
        let telemetry = match given.take("--otlp-endpoint")? {
            Some(word) if word == "off" => Telemetry::Off,
            endpoint => Telemetry::Otlp { endpoint },
        };
        let service = match role {
            Role::Shop => {
                let cache = given.required("--cache")?;
                Service::Shop {
                    cache: given.address("--cache", &cache)?,
                    inventory_url: given.required("--inventory")?,
                    payment_url: given.required("--payment")?,
                    assets: given.required("--assets")?.into(),
                    database: given.database(database_url)?,
                }
            }
            Role::Inventory => Service::Inventory { database: given.database(database_url)? },
            Role::Payment => Service::Payment,
            Role::Cache => Service::Cache,
        };
        given.finish()?;
        Ok(ServeOptions { listen, service, faults, telemetry })
    }
}

/// Options as typed, each to be taken once.
struct Given {
    role: Role,
    options: Vec<(String, String)>,
}

impl Given {
    fn read(role: Role, args: &[String]) -> Result<Given, DemoError> {
        let mut given = Given { role, options: Vec::new() };
        for pair in args.chunks(2) {
            match pair {
                [name, value] if name.starts_with("--") => given.options.push((name.clone(), value.clone())),
                _ => return Err(given.wrong(format!("expected `--name value` at `{}`", pair[0]))),
            }
        }
        Ok(given)
    }

    fn take(&mut self, name: &str) -> Result<Option<String>, DemoError> {
        let Some(at) = self.options.iter().position(|(other, _)| other == name) else { return Ok(None) };
        let (_, value) = self.options.remove(at);
        if self.options.iter().any(|(other, _)| other == name) {
            return Err(self.wrong(format!("{name} is given twice")));
        }
        Ok(Some(value))
    }

    fn required(&mut self, name: &str) -> Result<String, DemoError> {
        self.take(name)?.ok_or_else(|| self.wrong(format!("{name} is missing")))
    }

    fn address(&self, name: &str, value: &str) -> Result<SocketAddr, DemoError> {
        value
            .parse()
            .map_err(|_| self.wrong(format!("{name} {value}: expected an address such as 127.0.0.1:8080")))
    }

    fn database(&mut self, url: Option<String>) -> Result<Database, DemoError> {
        match (self.take("--sqlite")?, url) {
            (Some(path), _) => Ok(Database::Sqlite { path: path.into() }),
            (None, Some(url)) => Ok(Database::Postgres { url }),
            (None, None) => {
                Err(self.wrong(format!("--sqlite FILE is missing, and {DATABASE_URL} is not set")))
            }
        }
    }

    fn finish(&self) -> Result<(), DemoError> {
        match self.options.first() {
            Some((name, _)) => Err(self.wrong(format!("{name} is not an option of this service"))),
            None => Ok(()),
        }
    }

    fn wrong(&self, problem: String) -> DemoError {
        DemoError::Arguments { role: self.role.name().to_owned(), problem }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fault::Fault;
    use super::*;

    fn shop(database: Database) -> ServeOptions {
        ServeOptions {
            listen: "127.0.0.1:8080".parse().unwrap(),
            service: Service::Shop {
                database,
                cache: "127.0.0.1:6379".parse().unwrap(),
                inventory_url: "http://127.0.0.1:1".to_owned(),
                payment_url: "http://127.0.0.1:2".to_owned(),
                assets: "/tmp/x/static".into(),
            },
            faults: [Fault::Cpu, Fault::NPlusOne].into_iter().collect(),
            telemetry: Telemetry::Otlp { endpoint: Some("http://127.0.0.1:4317".to_owned()) },
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let sqlite = Database::Sqlite { path: "/tmp/x/shop.db".into() };
        let postgres = Database::Postgres { url: "postgres://u:pw@127.0.0.1/x".to_owned() };
        let plain = |service, telemetry| ServeOptions { service, telemetry, ..shop(sqlite.clone()) };
        let all = [
            shop(sqlite.clone()),
            shop(postgres.clone()),
            plain(Service::Inventory { database: postgres }, Telemetry::Otlp { endpoint: None }),
            plain(Service::Payment, Telemetry::Off),
            plain(Service::Cache, Telemetry::Off),
        ];
        for options in all {
            let (args, url) = options.to_args();
            assert!(args.iter().all(|arg| !arg.contains("pw")), "a password in the arguments: {args:?}");
            assert_eq!(ServeOptions::from_args(&args, url).unwrap(), options);
        }
    }

    #[test]
    fn errors_name_the_service_the_argument_and_what_is_expected() {
        let error = |line: &str| {
            let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            ServeOptions::from_args(&args, None).unwrap_err().to_string()
        };
        assert_eq!(
            error("till"),
            "`till` is not a service of the demo; known are shop, inventory, payment, cache"
        );
        assert_eq!(
            error("payment --listen here"),
            "demo-service payment: --listen here: expected an address such as 127.0.0.1:8080"
        );
        assert_eq!(error("payment --listen"), "demo-service payment: expected `--name value` at `--listen`");
        assert_eq!(
            error("payment --sqlite x"),
            "demo-service payment: --sqlite is not an option of this service"
        );
        assert_eq!(error("shop --listen 127.0.0.1:0"), "demo-service shop: --cache is missing");
        assert_eq!(
            error("inventory"),
            "demo-service inventory: --sqlite FILE is missing, and HOTSPAN_DEMO_DATABASE_URL is not set"
        );
        assert_eq!(error("cache --faults none --faults cpu"), "demo-service cache: --faults is given twice");
    }
}
