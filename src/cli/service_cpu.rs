//! CPU time of the service under load, where it runs on this machine: of the processes that listen at the target's port, and of all that
//! these have started. Whether that is the service whose spans are analysed, and no proxy before it, shows in that they send spans to
//! this process.
//!
//! Everything is read from the system's own books (`/proc`, Linux), of processes that this user may look at.

use super::watch::schedstat;
use crate::record::Nanos;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Looks after which the processes are looked for anew, and for how many that is done each time while they send no spans.
const SEARCH: u64 = 16;
const CONNECTS: u64 = 30;

/// The processes of the service, and what they had used at the last look.
pub struct ServiceCpu {
    books: PathBuf,
    /// Where the service listens.
    port: u16,
    /// Where this process takes in spans.
    receiver: Vec<u16>,
    own: u64,
    looks: u64,
    used: BTreeMap<u64, Account>,
    sends: bool,
}

/// What they used since the look before.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Used {
    /// CPU time.
    pub cpu: Nanos,
    /// How long their threads could run and had no core: the sum over the threads.
    pub waited: Nanos,
    /// Whether they have a connection to where spans are taken in, now or at a look before.
    pub sends_spans: bool,
}

/// The sums of a process since it began, in nanoseconds.
#[derive(Clone, Debug, Default)]
struct Account {
    /// CPU time of all of its threads, also those that ended, and of the processes that it started and saw end: the whole of that, when
    /// they end, so that it may be too much for a look and never too little.
    cpu: u64,
    /// At how many looks it was known before.
    looks: u64,
    /// How long each thread that is there waited for a core.
    waited: BTreeMap<u64, u64>,
}

impl ServiceCpu {
    /// Of what listens at `port` and sends spans to one of the ports `receiver`.
    pub fn new(port: u16, receiver: Vec<u16>) -> ServiceCpu {
        ServiceCpu::from_books(PathBuf::from("/proc"), port, receiver, u64::from(std::process::id()))
    }

    fn from_books(books: PathBuf, port: u16, receiver: Vec<u16>, own: u64) -> ServiceCpu {
        ServiceCpu { books, port, receiver, own, looks: 0, used: BTreeMap::new(), sends: false }
    }

    /// What they used since the look before; nothing where no process is known, or not for that long.
    pub fn look(&mut self) -> Option<Used> {
        let before = std::mem::take(&mut self.used);
        let now = |(id, before): (&u64, &Account)| {
            let now = account(&self.books, *id)?;
            Some((*id, Account { looks: before.looks + 1, ..now }))
        };
        self.used = before.iter().filter_map(now).collect();
        // Programs that a request calls come and go; where a worker goes, another may have come.
        let lost_one = before.iter().any(|(id, of)| of.looks > 0 && !self.used.contains_key(id));
        let (mut cpu, mut waited) = (0, 0);
        for (id, now) in &self.used {
            cpu += now.cpu.saturating_sub(before[id].cpu);
            // A thread that was not there has begun since.
            let since = |(thread, time): (&u64, &u64)| {
                time.saturating_sub(before[id].waited.get(thread).copied().unwrap_or(0))
            };
            waited += now.waited.iter().map(since).sum::<u64>();
        }
        self.looks += 1;
        // A service that could not send its spans before connects when it tries again.
        let may_connect = !self.sends && self.looks <= CONNECTS;
        let at_times = self.looks.is_power_of_two() || self.looks.is_multiple_of(SEARCH);
        if may_connect || at_times || lost_one {
            self.search();
        }
        let used = Used { cpu: Nanos(cpu), waited: Nanos(waited), sends_spans: self.sends };
        before.keys().any(|id| self.used.contains_key(id)).then_some(used)
    }

    /// Finds out which processes they are.
    fn search(&mut self) {
        let text = |name: &str| fs::read_to_string(self.books.join("net").join(name)).unwrap_or_default();
        let tables = [text("tcp"), text("tcp6")];
        let sockets: Vec<Socket> = tables.iter().flat_map(|table| table.lines().filter_map(socket)).collect();
        let inodes = |of: &dyn Fn(&Socket) -> bool| -> BTreeSet<u64> {
            sockets.iter().filter(|s| of(s)).map(|s| s.inode).collect()
        };
        let listening = inodes(&|s| s.state == LISTEN && s.local == self.port);
        let sending = inodes(&|s| s.state == ESTABLISHED && self.receiver.contains(&s.remote));
        let parents = parents(&self.books);
        let holders = |of: &BTreeSet<u64>| -> BTreeSet<u64> {
            let holds = |id: &&u64| sockets_of(&self.books, **id).any(|inode| of.contains(&inode));
            parents.keys().filter(holds).copied().collect()
        };
        let listeners = if listening.is_empty() { BTreeSet::new() } else { holders(&listening) };
        // A service within this process has no CPU time of its own, and that of one behind a tunnel is elsewhere.
        let elsewhere = |id: &u64| *id == self.own || is_a_tunnel(&self.books, *id);
        if listeners.is_empty() || listeners.iter().any(elsewhere) {
            self.used.clear();
            return;
        }
        let of_service = |id: &u64| {
            let line = std::iter::successors(Some(*id), |id| parents.get(id).copied());
            line.take(parents.len() + 1).any(|id| listeners.contains(&id))
        };
        let found: BTreeSet<u64> = parents.keys().filter(|id| of_service(id)).copied().collect();
        self.sends = self.sends || !holders(&sending).is_disjoint(&found);
        self.used.retain(|id, _| found.contains(id));
        for id in found {
            if let (false, Some(new)) = (self.used.contains_key(&id), account(&self.books, id)) {
                self.used.insert(id, new);
            }
        }
    }
}

/// Programs that carry requests to another machine and its spans back to this one, as `ssh -L 8000:… -R 4318:…` does.
const TUNNELS: [&str; 9] =
    ["ssh", "sshd", "autossh", "chisel", "frpc", "gost", "cloudflared", "kubectl", "telepresence"];

fn is_a_tunnel(books: &Path, id: u64) -> bool {
    let name = fs::read_to_string(books.join(id.to_string()).join("comm")).unwrap_or_default();
    TUNNELS.contains(&name.trim_end())
}

const ESTABLISHED: u8 = 0x01;
const LISTEN: u8 = 0x0A;

/// A line of `/proc/net/tcp`.
struct Socket {
    local: u16,
    remote: u16,
    state: u8,
    inode: u64,
}

fn socket(line: &str) -> Option<Socket> {
    let words: Vec<&str> = line.split_ascii_whitespace().take(10).collect();
    let port = |at: usize| u16::from_str_radix(words.get(at)?.rsplit_once(':')?.1, 16).ok();
    Some(Socket {
        local: port(1)?,
        remote: port(2)?,
        state: u8::from_str_radix(words.get(3)?, 16).ok()?,
        inode: words.get(9)?.parse().ok()?,
    })
}

/// Who started a process, and the clock ticks for which all of its threads ran, also those that ended, and its children that ended.
fn stat(books: &Path, id: u64) -> Option<(u64, u64)> {
    let text = fs::read_to_string(books.join(id.to_string()).join("stat")).ok()?;
    // The name of the program, in brackets, may have any characters.
    let words: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().take(15).collect();
    let number = |at: usize| words.get(at)?.parse::<u64>().ok();
    Some((number(1)?, (11..=14).map(number).sum::<Option<u64>>()?))
}

fn account(books: &Path, id: u64) -> Option<Account> {
    let (_, ticks) = stat(books, id)?;
    let threads = fs::read_dir(books.join(id.to_string()).join("task")).into_iter().flatten().flatten();
    let waited = threads.filter_map(|thread| {
        let (_, waited) = schedstat(&fs::read_to_string(thread.path().join("schedstat")).ok()?)?;
        Some((thread.file_name().to_str()?.parse().ok()?, waited))
    });
    let cpu = ticks.saturating_mul(1_000_000_000) / ticks_per_second();
    Some(Account { cpu, looks: 0, waited: waited.collect() })
}

fn ticks_per_second() -> u64 {
    #[cfg(unix)]
    {
        rustix::param::clock_ticks_per_second().max(1)
    }
    #[cfg(not(unix))]
    {
        100
    }
}

/// Who started each process.
fn parents(books: &Path) -> BTreeMap<u64, u64> {
    let entries = fs::read_dir(books).into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter_map(|id| Some((id, stat(books, id)?.0))).collect()
}

/// The inodes of a process's sockets.
fn sockets_of(books: &Path, id: u64) -> impl Iterator<Item = u64> {
    let files = fs::read_dir(books.join(id.to_string()).join("fd")).into_iter().flatten().flatten();
    files.filter_map(|file| {
        let what = fs::read_link(file.path()).ok()?;
        what.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    })
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A process in the books: who started it, its CPU time in ticks, and its sockets.
    fn process(books: &Path, id: u64, parent: u64, ticks: u64, sockets: &[u64]) {
        let dir = books.join(id.to_string());
        fs::create_dir_all(dir.join("fd")).unwrap();
        let stat = format!("{id} (py) thon 3) S {parent} 1 1 0 -1 0 1 2 3 4 {ticks} 0 7 7 20 0 1 0 5\n");
        fs::write(dir.join("stat"), stat).unwrap();
        for (n, inode) in sockets.iter().enumerate() {
            let _ = symlink(format!("socket:[{inode}]"), dir.join("fd").join(n.to_string()));
        }
        let _ = symlink("/dev/null", dir.join("fd").join("99"));
        let task = dir.join("task").join(id.to_string());
        fs::create_dir_all(&task).unwrap();
        // Each tick was waited for a thousand nanoseconds.
        fs::write(task.join("schedstat"), format!("{} {} 9\n", ticks * 10_000_000, ticks * 1_000)).unwrap();
    }

    fn used(ticks: u64, sends_spans: bool) -> Option<Used> {
        let cpu = Nanos(ticks * 1_000_000_000 / ticks_per_second());
        Some(Used { cpu, waited: Nanos(ticks * 1_000), sends_spans })
    }

    const TABLE: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
        0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 501 1 0 100 0 0 10 0\n   \
        1: 0100007F:C350 0100007F:10DE 01 00000000:00000000 00:00000000 00000000     0        0 502 1 0 20 4 30 10 -1\n   \
        2: 0100007F:C351 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 503 1 0 20 4 30 10 -1\n";

    #[test]
    fn the_processes_of_a_port_and_their_children_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let books = dir.path();
        fs::create_dir(books.join("net")).unwrap();
        fs::write(books.join("net/tcp"), TABLE).unwrap();
        process(books, 10, 1, 100, &[501]);
        process(books, 11, 10, 50, &[501]);
        process(books, 12, 11, 7, &[]);
        process(books, 13, 1, 1_000, &[503]);
        let mut cpu = ServiceCpu::from_books(books.to_owned(), 0x1F90, vec![0x10DE], 9);
        assert_eq!(cpu.look(), None, "nothing before the first look");
        process(books, 11, 10, 75, &[]);
        process(books, 12, 11, 10, &[502]);
        process(books, 13, 1, 2_000, &[]);
        assert_eq!(cpu.look(), used(28, true));
        // A worker ends, and another takes its place: what that used before is not known.
        fs::remove_dir_all(books.join("11")).unwrap();
        process(books, 14, 10, 400, &[]);
        assert_eq!(cpu.look(), used(0, true));
        process(books, 14, 10, 440, &[]);
        assert_eq!(cpu.look(), used(40, true));
        // A program that a request calls is there at one look and not at the next; who waited for it has its time then.
        process(books, 15, 14, 1, &[]);
        for _ in 0..SEARCH {
            cpu.look();
        }
        fs::remove_dir_all(books.join("15")).unwrap();
        process(books, 14, 10, 445, &[]);
        assert_eq!(cpu.look(), used(5, true));
        // All are gone.
        for id in ["10", "12", "14"] {
            fs::remove_dir_all(books.join(id)).unwrap();
        }
        assert_eq!(cpu.look(), None);
    }

    #[test]
    fn a_proxy_sends_no_spans_and_a_service_within_this_process_has_no_time() {
        let dir = tempfile::tempdir().unwrap();
        let books = dir.path();
        fs::create_dir(books.join("net")).unwrap();
        fs::write(books.join("net/tcp"), TABLE).unwrap();
        process(books, 10, 1, 100, &[501]);
        process(books, 13, 1, 1_000, &[502]);
        let mut proxy = ServiceCpu::from_books(books.to_owned(), 0x1F90, vec![0x10DE], 9);
        let mut own = ServiceCpu::from_books(books.to_owned(), 0x1F90, vec![0x10DE], 10);
        proxy.look();
        own.look();
        assert_eq!(proxy.look(), used(0, false));
        assert_eq!(own.look(), None);
        // One that carries both the requests and the spans.
        process(books, 10, 1, 100, &[501, 502]);
        fs::write(books.join("10/comm"), "ssh\n").unwrap();
        let mut tunnel = ServiceCpu::from_books(books.to_owned(), 0x1F90, vec![0x10DE], 9);
        tunnel.look();
        assert_eq!(tunnel.look(), None);
        // Nobody listens there, or there are no such books.
        for (books, port) in [(books, 80), (Path::new("/nowhere"), 0x1F90)] {
            let mut none = ServiceCpu::from_books(books.to_owned(), port, vec![0x10DE], 9);
            none.look();
            assert_eq!(none.look(), None);
        }
    }
}
