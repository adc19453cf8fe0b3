//! When bytes reached this machine, by the kernel's own account (`SO_TIMESTAMPNS`): read later, they are as old as they are.
//!
//! Whoever is told by the kernel when an answer came need not be awake when it comes. At a fixed rate that is half of all
//! wake-ups ([`super::timer::Timer::nap`]), and how late this process got its turn is no part of the measured time.

use crate::record::Nanos;
use std::io;
use tokio::net::TcpStream;

/// Room for what the kernel tells beside the bytes.
pub struct Room {
    #[cfg(target_os = "linux")]
    control: Vec<u8>,
}

impl Room {
    /// For one read at a time.
    pub fn new() -> Room {
        Room {
            #[cfg(target_os = "linux")]
            control: nix::cmsg_space!(nix::sys::time::TimeSpec),
        }
    }
}

/// Asks the kernel to note when the bytes of a connection come. Whether it does.
pub fn ask_for(stream: &TcpStream) -> bool {
    #[cfg(target_os = "linux")]
    {
        use nix::sys::socket::{setsockopt, sockopt::ReceiveTimestampns};
        setsockopt(stream, ReceiveTimestampns, &true).is_ok()
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = stream;
        false
    }
}

/// Reads what has come, and how long ago the last of it came, if that is known.
///
/// # Errors
/// As every read; `WouldBlock` when nothing has come.
#[cfg(target_os = "linux")]
pub fn read(stream: &TcpStream, into: &mut [u8], room: &mut Room) -> io::Result<(usize, Option<Nanos>)> {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
    use std::io::IoSliceMut;
    use std::os::fd::AsRawFd;
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    let mut parts = [IoSliceMut::new(into)];
    let told = recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut room.control), MsgFlags::empty())?;
    let came = told.cmsgs().ok().and_then(|mut messages| {
        messages.find_map(|message| match message {
            ControlMessageOwned::ScmTimestampns(at) => {
                Some(UNIX_EPOCH + Duration::new(at.tv_sec().try_into().ok()?, at.tv_nsec().try_into().ok()?))
            }
            _ => None,
        })
    });
    // The kernel's stamp is of the wall clock, which may be set meanwhile: only its distance from now is used.
    let age = came.and_then(|came| SystemTime::now().duration_since(came).ok());
    Ok((told.bytes, age.map(|age| Nanos(u64::try_from(age.as_nanos()).unwrap_or(u64::MAX)))))
}

/// Reads what has come. This system does not tell when.
///
/// # Errors
/// As every read.
#[cfg(not(target_os = "linux"))]
pub fn read(stream: &TcpStream, into: &mut [u8], _: &mut Room) -> io::Result<(usize, Option<Nanos>)> {
    Ok((stream.try_read(into)?, None))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::io::Write;
    use std::time::{Duration, Instant};

    #[tokio::test]
    async fn bytes_are_as_old_as_their_arrival() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        assert!(ask_for(&stream));
        let mut peer = listener.accept().unwrap().0;
        let (mut bytes, mut room) = ([0; 16], Room::new());
        let mut ages = Vec::new();
        // The first socket of a system that asks switches stamps on, which takes the kernel a moment.
        for _ in 0..50 {
            let before = Instant::now();
            peer.write_all(b"hello").unwrap();
            let sent = Instant::now();
            std::thread::sleep(Duration::from_millis(20));
            stream.readable().await.unwrap();
            // The two clocks may be slewed against each other, a little.
            let least = sent.elapsed() / 2;
            let (length, age) = read(&stream, &mut bytes, &mut room).unwrap();
            assert_eq!(&bytes[..length], b"hello");
            let age = age.map(|age| Duration::from_nanos(age.0));
            assert!(age <= Some(2 * before.elapsed()), "{age:?}");
            ages.push(age);
            if age >= Some(least) {
                break;
            }
        }
        assert!(ages.last().unwrap() >= &Some(Duration::from_millis(10)), "{ages:?}");
        let nothing = read(&stream, &mut bytes, &mut room).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        drop(peer);
        stream.readable().await.unwrap();
        assert_eq!(read(&stream, &mut bytes, &mut room).unwrap(), (0, None));
    }
}
