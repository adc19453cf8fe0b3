//! Waits until exact moments. The runtime's own timer is a millisecond coarse and late, which would be blamed on the
//! generator; here an alarm of the system (timerfd, measured 0.02 ms late at the median) serves a heap of sleepers.
//!
//! Where nobody needs to be woken by a socket, because the kernel notes when answers come ([`super::stamp`]), the thread
//! may also *nap* until the next moment: one wake-up per moment instead of one more per answer. A wake-up costs more than
//! all else that is done for a request.

use super::clock::{Clock, ThreadClock};
use crate::record::{Nanos, Timestamp};
use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// One thread's timer. Clones are the same timer.
#[derive(Clone)]
pub struct Timer {
    inner: Rc<Inner>,
}

struct Inner {
    clock: Rc<ThreadClock>,
    alarm: Alarm,
    sleepers: RefCell<BinaryHeap<Reverse<Entry>>>,
    /// What the alarm is set to; the far future when it is not.
    armed: Cell<u64>,
    entered: Cell<u64>,
    /// Once set, nobody sleeps any more.
    hurried: Cell<bool>,
    /// The longest nap; zero where the thread must hear its sockets.
    nap: Cell<Nanos>,
    /// How many keep the thread from napping just now.
    listeners: Cell<u32>,
}

/// Sleepers are ordered by their time, then by who came first.
struct Entry {
    at: u64,
    order: u64,
    /// Sleeps on when all others are hurried.
    steady: bool,
    sleeper: Rc<Sleeper>,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Entry) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Entry) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

#[derive(Default)]
struct Sleeper {
    waker: RefCell<Option<Waker>>,
    woken: Cell<bool>,
}

/// What wakes the thread at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AlarmKind {
    /// A timer of the kernel that is waited for like a socket. Linux only.
    #[cfg(target_os = "linux")]
    Descriptor,
    /// A thread that sleeps.
    Thread,
}

enum Alarm {
    #[cfg(target_os = "linux")]
    Descriptor(tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>),
    Thread {
        settings: mpsc::Sender<Instant>,
        bell: Arc<Notify>,
    },
}

impl Timer {
    /// The best timer that this system has, for the runtime of this thread; [`Timer::drive`] must be spawned on it.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn best(clock: Clock) -> io::Result<Timer> {
        #[cfg(target_os = "linux")]
        if let Ok(timer) = Timer::new(clock, AlarmKind::Descriptor) {
            return Ok(timer);
        }
        Timer::new(clock, AlarmKind::Thread)
    }

    /// A timer with that alarm.
    ///
    /// # Errors
    /// When the system gives no timer or no thread.
    fn new(clock: Clock, kind: AlarmKind) -> io::Result<Timer> {
        let inner = Inner {
            clock: Rc::new(ThreadClock::new(clock)),
            alarm: Alarm::new(kind)?,
            sleepers: RefCell::default(),
            armed: Cell::new(u64::MAX),
            entered: Cell::new(0),
            hurried: Cell::new(false),
            nap: Cell::new(Nanos::ZERO),
            listeners: Cell::new(0),
        };
        Ok(Timer { inner: Rc::new(inner) })
    }

    /// The clock that it goes by.
    pub fn clock(&self) -> &Rc<ThreadClock> {
        &self.inner.clock
    }

    /// Done at `at`, never before it unless the timer is hurried.
    pub fn sleep_until(&self, at: Timestamp) -> Sleep {
        Sleep { timer: Rc::clone(&self.inner), at: at.0, steady: false, sleeper: None }
    }

    /// Done at `at`, hurried or not: for whoever works on until the very end.
    pub fn steady_sleep_until(&self, at: Timestamp) -> Sleep {
        Sleep { timer: Rc::clone(&self.inner), at: at.0, steady: true, sleeper: None }
    }

    /// Ends all sleeps but steady ones, present and future: the run is being stopped.
    pub fn hurry(&self) {
        self.inner.hurried.set(true);
        let (steady, hurried) = self.inner.sleepers.take().into_vec().into_iter().partition(|e| e.0.steady);
        self.inner.sleepers.replace(BinaryHeap::<Reverse<Entry>>::from_iter::<Vec<_>>(steady));
        let hurried: Vec<Reverse<Entry>> = hurried;
        for Reverse(entry) in hurried {
            entry.wake();
        }
    }

    /// From now on the thread sleeps without an ear for its sockets where the next moment is no farther than `longest`.
    pub fn nap(&self, longest: Nanos) {
        #[cfg(target_os = "linux")]
        {
            // What the system adds to every sleep so that wake-ups meet is 0.05 ms, of this thread alone.
            let exact = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
            if exact.is_ok() {
                self.inner.nap.set(longest);
            }
        }
        #[cfg(not(target_os = "linux"))]
        let _ = longest;
    }

    /// No more naps: what sockets have to say is needed at once.
    pub fn stay_awake(&self) {
        self.inner.nap.set(Nanos::ZERO);
    }

    /// No naps for as long as what it gives is kept.
    pub fn listening(&self) -> Listening {
        self.inner.listeners.set(self.inner.listeners.get() + 1);
        Listening { timer: Rc::clone(&self.inner) }
    }

    /// Wakes sleepers for ever.
    pub async fn drive(self) {
        loop {
            let napped = self.inner.take_nap();
            if !napped && self.inner.alarm.rings().await.is_err() {
                // The alarm is gone: nobody may sleep for ever because of that.
                self.hurry();
                return;
            }
            // Who was woken mostly sleeps again at once, until a moment that is the next one. So the alarm is set only when
            // they have had their turn: once per moment and not twice.
            self.inner.armed.set(0);
            self.inner.wake_due();
            if self.inner.nap.get() > Nanos::ZERO {
                // Everybody's turn, then a look at the sockets, then the turn of those who wait for them.
                tokio::task::yield_now().await;
            }
            next_turn().await;
            if !self.inner.can_nap() {
                self.inner.arm_next();
            }
        }
    }
}

/// See [`Timer::listening`].
pub struct Listening {
    timer: Rc<Inner>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.timer.listeners.set(self.timer.listeners.get().saturating_sub(1));
    }
}

/// Goes to the end of the line of tasks that can run. The runtime's own way of yielding asks the system for events first,
/// which costs a call.
async fn next_turn() {
    let mut waited = false;
    poll_fn(|cx| {
        if waited {
            return Poll::Ready(());
        }
        waited = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

impl Entry {
    fn wake(self) {
        self.sleeper.woken.set(true);
        if let Some(waker) = self.sleeper.waker.take() {
            waker.wake();
        }
    }
}

impl Inner {
    /// Wakes who is due. The alarm is not set: see [`Timer::drive`].
    fn wake_due(&self) {
        let now = self.clock.now().0;
        loop {
            let mut sleepers = self.sleepers.borrow_mut();
            let due = match sleepers.peek() {
                Some(Reverse(entry)) if entry.at <= now => sleepers.pop(),
                _ => return,
            };
            drop(sleepers);
            if let Some(Reverse(entry)) = due {
                entry.wake();
            }
        }
    }

    /// How long until the next moment, if it is near enough to sleep through.
    fn near(&self) -> Option<Nanos> {
        let longest = self.nap.get();
        if longest == Nanos::ZERO || self.listeners.get() > 0 {
            return None;
        }
        let at = self.sleepers.borrow().peek().map(|Reverse(entry)| entry.at)?;
        let left = Nanos(at.saturating_sub(self.clock.now().0));
        (left <= longest).then_some(left)
    }

    fn can_nap(&self) -> bool {
        self.near().is_some()
    }

    /// Sleeps until the next moment, if it is near; whether it was.
    fn take_nap(&self) -> bool {
        let Some(left) = self.near() else { return false };
        #[cfg(target_os = "linux")]
        if left > Nanos::ZERO {
            use rustix::thread::{ClockId, clock_nanosleep_relative};
            let request = rustix::time::Timespec { tv_sec: 0, tv_nsec: left.0.min(999_999_999) as _ };
            // Woken early by a signal, nobody is due and the rest is slept.
            let _ = clock_nanosleep_relative(ClockId::Monotonic, &request);
        }
        true
    }

    fn arm_next(&self) {
        self.armed.set(u64::MAX);
        let next = self.sleepers.borrow().peek().map(|Reverse(entry)| entry.at);
        if let Some(at) = next {
            self.arm(at, self.clock.now().0);
        }
    }

    fn arm(&self, at: u64, now: u64) {
        if at < self.armed.get() {
            self.armed.set(at);
            self.alarm.set(Duration::from_nanos(at.saturating_sub(now).max(1)));
        }
    }

    fn enter(&self, at: u64, now: u64, steady: bool, sleeper: Rc<Sleeper>) {
        let order = self.entered.get();
        self.entered.set(order + 1);
        self.sleepers.borrow_mut().push(Reverse(Entry { at, order, steady, sleeper }));
        self.arm(at, now);
    }
}

impl Alarm {
    fn new(kind: AlarmKind) -> io::Result<Alarm> {
        match kind {
            #[cfg(target_os = "linux")]
            AlarmKind::Descriptor => {
                use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
                let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
                let descriptor = timerfd_create(TimerfdClockId::Monotonic, flags)?;
                // What replaces it is unsafe, because a type could give another descriptor each time; an owned one cannot.
                #[allow(deprecated, reason = "sound for a descriptor that is owned and never replaced")]
                let descriptor =
                    tokio::io::unix::AsyncFd::with_interest(descriptor, tokio::io::Interest::READABLE)?;
                Ok(Alarm::Descriptor(descriptor))
            }
            AlarmKind::Thread => {
                let (settings, received) = mpsc::channel();
                let bell = Arc::new(Notify::new());
                let rung = Arc::clone(&bell);
                std::thread::Builder::new()
                    .name("hotspan-alarm".into())
                    .spawn(move || ring_at(&received, &rung))?;
                Ok(Alarm::Thread { settings, bell })
            }
        }
    }

    fn set(&self, after: Duration) {
        match self {
            #[cfg(target_os = "linux")]
            Alarm::Descriptor(descriptor) => {
                use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};
                let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
                let value =
                    Timespec { tv_sec: after.as_secs() as i64, tv_nsec: i64::from(after.subsec_nanos()) };
                let setting = Itimerspec { it_interval: zero, it_value: value };
                // It fails for broken arguments only, and a second is less than 10⁹ ns by type.
                let _ = timerfd_settime(descriptor.get_ref(), TimerfdTimerFlags::empty(), &setting);
            }
            Alarm::Thread { settings, .. } => {
                let _ = settings.send(Instant::now() + after);
            }
        }
    }

    async fn rings(&self) -> io::Result<()> {
        match self {
            #[cfg(target_os = "linux")]
            Alarm::Descriptor(descriptor) => {
                // No read is needed: setting the timer anew takes back its readiness, and the next expiry is a new edge.
                descriptor.readable().await?.clear_ready();
                Ok(())
            }
            Alarm::Thread { bell, .. } => {
                bell.notified().await;
                Ok(())
            }
        }
    }
}

/// The alarm thread: sleeps until the moment that was set last; ends with its timer.
fn ring_at(settings: &mpsc::Receiver<Instant>, bell: &Notify) {
    let mut at: Option<Instant> = None;
    loop {
        let message = match at {
            None => settings.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected),
            Some(at) => settings.recv_timeout(at.saturating_duration_since(Instant::now())),
        };
        match message {
            Ok(new) => at = Some(new),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                bell.notify_one();
                at = None;
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// See [`Timer::sleep_until`].
pub struct Sleep {
    timer: Rc<Inner>,
    at: u64,
    steady: bool,
    sleeper: Option<Rc<Sleeper>>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let hurried = self.timer.hurried.get() && !self.steady;
        if hurried || self.sleeper.as_ref().is_some_and(|s| s.woken.get()) {
            return Poll::Ready(());
        }
        match &self.sleeper {
            Some(sleeper) => {
                sleeper.waker.replace(Some(cx.waker().clone()));
                Poll::Pending
            }
            None => {
                let Some(Timestamp(now)) = self.timer.clock.now_before(Timestamp(self.at)) else {
                    return Poll::Ready(());
                };
                let sleeper = Rc::new(Sleeper::default());
                sleeper.waker.replace(Some(cx.waker().clone()));
                self.timer.enter(self.at, now, self.steady, Rc::clone(&sleeper));
                self.sleeper = Some(sleeper);
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Nanos;

    fn run(timer: fn(Clock) -> io::Result<Timer>, test: impl AsyncFnOnce(Timer, Clock)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build_local(Default::default())
            .unwrap();
        runtime.block_on(async {
            let clock = Clock::start();
            let timer = timer(clock).unwrap();
            tokio::task::spawn_local(timer.clone().drive());
            test(timer, clock).await;
        });
    }

    async fn sleepers_wake_in_order_and_never_early(timer: Timer, clock: Clock) {
        // On a machine that stands still meanwhile, moments may be over before anybody sleeps: then there is no order to keep.
        for ahead in [1, 10, 100, 1_000, 10_000] {
            let start = clock.now() + Nanos::from_millis(ahead);
            let woken = Rc::new(RefCell::new(Vec::new()));
            let tasks: Vec<_> = [9u64, 3, 6, 0]
                .into_iter()
                .map(|ms| {
                    let (timer, woken) = (timer.clone(), Rc::clone(&woken));
                    tokio::task::spawn_local(async move {
                        let at = start + Nanos::from_millis(ms);
                        timer.sleep_until(at).await;
                        assert!(clock.now() >= at, "{ms} ms woke early");
                        woken.borrow_mut().push(ms);
                    })
                })
                .collect();
            tokio::task::yield_now().await;
            let in_time = clock.now() < start;
            for task in tasks {
                task.await.unwrap();
            }
            if in_time {
                assert_eq!(*woken.borrow(), [0, 3, 6, 9]);
                return;
            }
        }
        panic!("nobody slept in time");
    }

    #[test]
    fn the_best_alarm_keeps_order() {
        run(Timer::best, sleepers_wake_in_order_and_never_early);
    }

    #[test]
    fn naps_keep_order() {
        let napping = |clock| {
            let timer = Timer::best(clock)?;
            timer.nap(Nanos::from_millis(5));
            Ok(timer)
        };
        run(napping, sleepers_wake_in_order_and_never_early);
    }

    #[test]
    fn nobody_naps_who_listens() {
        run(Timer::best, async |timer: Timer, clock: Clock| {
            let sleeper = tokio::task::spawn_local(timer.sleep_until(clock.now() + Nanos::from_millis(900)));
            tokio::task::yield_now().await;
            assert!(!timer.inner.can_nap());
            timer.nap(Nanos::from_millis(1_000));
            assert!(timer.inner.can_nap() || !cfg!(target_os = "linux"));
            let listening = timer.listening();
            assert!(!timer.inner.can_nap());
            drop(listening);
            timer.nap(Nanos::from_millis(1));
            assert!(!timer.inner.can_nap(), "the next moment is too far");
            timer.stay_awake();
            sleeper.abort();
        });
    }

    #[test]
    fn the_thread_alarm_keeps_order() {
        run(|clock| Timer::new(clock, AlarmKind::Thread), sleepers_wake_in_order_and_never_early);
    }

    #[test]
    fn hurrying_ends_all_sleeps() {
        run(Timer::best, async |timer: Timer, clock: Clock| {
            let far = clock.now() + Nanos::from_millis(3_600_000);
            let soon = clock.now() + Nanos::from_millis(5);
            let sleeper = tokio::task::spawn_local(timer.sleep_until(far));
            let steady = tokio::task::spawn_local(timer.steady_sleep_until(soon));
            tokio::task::yield_now().await;
            timer.hurry();
            sleeper.await.unwrap();
            timer.sleep_until(far).await;
            steady.await.unwrap();
            assert!(clock.now() >= soon, "a steady sleeper is not hurried");
        });
    }
}
