//! A virtual user's own things: its slot among the deadlines, its cookies and, in the closed model, its connections.

use super::connection::Connection;
use super::flight::Flight;
use super::jar::Jar;
use super::pool::Pool;
use crate::record::Timestamp;

/// A virtual user.
pub struct Seat {
    /// Index of the load that it is of.
    pub load: usize,
    /// Number of the user, over the whole run.
    pub user: u32,
    /// Its slot among the requests under way.
    pub flight: Flight,
    /// Its cookies.
    pub cookies: Jar,
    /// Where its connections come from.
    pub connections: Connections,
    /// The variables with which its iterations begin, where the user was set up; else the scenario's.
    pub variables: Option<Vec<serde_json::Value>>,
    /// The answers that it keeps.
    pub cache: super::cache::Cache,
}

/// Where a user's connections come from.
pub enum Connections {
    /// Its own, one per endpoint, as a browser's.
    Own(Vec<Option<Connection>>),
    /// The thread's pool, as of all arrivals of the open model.
    Pooled,
    /// An arrival's own, where the scenario wants it.
    Arrival(Vec<Option<Connection>>),
}

impl Connections {
    /// Whether they are of an arrival of the open model.
    pub fn are_of_open_model(&self) -> bool {
        matches!(self, Connections::Pooled | Connections::Arrival(_))
    }

    /// The place of a user's own connection; nothing where users share them.
    fn own(&mut self, endpoint: usize, pool: &Pool) -> Option<&mut Option<Connection>> {
        match self {
            Connections::Own(own) if !pool.is_limited(endpoint) => own.get_mut(endpoint),
            Connections::Arrival(own) if pool.is_per_user(endpoint) => own.get_mut(endpoint),
            _ => None,
        }
    }

    /// An open connection, if there is one.
    pub fn take(&mut self, endpoint: usize, pool: &Pool, now: Timestamp) -> Option<Connection> {
        match self.own(endpoint, pool) {
            Some(own) => own.take().filter(|connection| connection.is_usable(now)),
            None => pool.take(endpoint, now),
        }
    }

    /// Tells of a connection that was just opened.
    pub fn opened(&mut self, endpoint: usize, connection: &Connection, pool: &Pool) {
        if self.own(endpoint, pool).is_none() {
            pool.announce(endpoint, connection);
        }
    }

    /// Takes a connection back after an exchange.
    pub fn give(&mut self, endpoint: usize, connection: Connection, pool: &Pool) {
        match self.own(endpoint, pool) {
            Some(own) => *own = Some(connection),
            None => pool.give(endpoint, connection),
        }
    }
}
