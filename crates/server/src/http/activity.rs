//! What a connection is waiting for and since when, and a socket that keeps note of it.
//!
//! One task owns a connection with all its parts; the atomics are here because parts of it are reached from the request's
//! service and body, and are never contended.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::HttpLimits;

/// The most that is read and thrown away after an answer that came before the end of its request's body.
const LINGER_BYTES: usize = 32 * 1024 * 1024;
/// For how long.
const LINGER: Duration = Duration::from_secs(5);

/// The caller has connected and said nothing yet.
const FRESH: u8 = 0;
/// The caller owes us the rest of a request's head.
const HEAD: u8 = 1;
/// We owe an answer.
const BUSY: u8 = 2;
/// Nothing is owed, or the caller takes its answer.
const IDLE: u8 = 3;
/// The last answer is given; what the caller still sends is thrown away.
const LINGERING: u8 = 4;

/// What a connection is waiting for.
#[derive(Debug)]
pub(super) struct Activity {
    begun: Instant,
    phase: AtomicU8,
    /// When that phase began, in milliseconds after `begun`.
    since_ms: AtomicU64,
    /// The present request's body has not come to its end.
    body_open: AtomicBool,
    /// It took too long.
    body_timed_out: AtomicBool,
    /// The present answer has no end of its own: server-sent events.
    endless: AtomicBool,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self {
            begun: Instant::now(),
            phase: AtomicU8::new(FRESH),
            since_ms: AtomicU64::new(0),
            body_open: AtomicBool::new(false),
            body_timed_out: AtomicBool::new(false),
            endless: AtomicBool::new(false),
        }
    }

    fn enter(&self, phase: u8) {
        let since = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.since_ms.store(since, Ordering::Relaxed);
        self.phase.store(phase, Ordering::Relaxed);
    }

    fn is_in(&self, phase: u8) -> bool {
        self.phase.load(Ordering::Relaxed) == phase
    }

    /// A request's head has come.
    pub(super) fn asked(&self, has_body: bool) {
        self.body_open.store(has_body, Ordering::Relaxed);
        self.phase.store(BUSY, Ordering::Relaxed);
    }

    /// Its answer begins.
    pub(super) fn answered(&self, endless: bool) {
        self.endless.store(endless, Ordering::Relaxed);
        self.enter(IDLE);
    }

    /// The request's body has come to its end.
    pub(super) fn body_ended(&self) {
        self.body_open.store(false, Ordering::Relaxed);
    }

    /// The request's body took too long.
    pub(super) fn note_late_body(&self) {
        self.body_timed_out.store(true, Ordering::Relaxed);
    }

    /// Whether the request's body took too long.
    pub(super) fn body_is_late(&self) -> bool {
        self.body_timed_out.load(Ordering::Relaxed)
    }

    /// Whether the present answer has no end of its own.
    pub(super) fn is_endless(&self) -> bool {
        self.endless.load(Ordering::Relaxed) && self.is_in(IDLE)
    }

    /// When the connection must end unless something happens; `None` while we owe an answer.
    pub(super) fn deadline(&self, limits: &HttpLimits) -> Option<Instant> {
        let allowed = match self.phase.load(Ordering::Relaxed) {
            FRESH | HEAD => limits.request_timeout,
            IDLE => limits.idle_timeout,
            LINGERING => LINGER,
            _ => return None,
        };
        Some(self.begun + Duration::from_millis(self.since_ms.load(Ordering::Relaxed)) + allowed)
    }
}

/// A socket that notes what comes and goes.
pub(super) struct Noted<IO> {
    io: IO,
    activity: Arc<Activity>,
    /// How much may still be thrown away at the end.
    linger_bytes: usize,
}

impl<IO> Noted<IO> {
    pub(super) const fn new(io: IO, activity: Arc<Activity>) -> Self {
        Self {
            io,
            activity,
            linger_bytes: LINGER_BYTES,
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Noted<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buffer);
        if buffer.filled().len() > before && (self.activity.is_in(IDLE) || self.activity.is_in(FRESH)) {
            self.activity.enter(HEAD);
        }
        read
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Noted<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.note(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.note(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// Ends our side. Where the caller is still sending, its bytes are read and thrown away first: closing a socket with
    /// unread bytes would reset it, and the caller would lose the answer (413, say) that it was just given.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
        if !self.activity.is_in(LINGERING) {
            if !self.activity.is_in(HEAD) && !self.activity.body_open.load(Ordering::Relaxed) {
                return Poll::Ready(Ok(()));
            }
            self.activity.enter(LINGERING);
        }
        let mut scratch = [0; 8 * 1024];
        while self.linger_bytes > 0 {
            let mut buffer = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer))?;
            let read = buffer.filled().len();
            if read == 0 {
                break;
            }
            self.linger_bytes = self.linger_bytes.saturating_sub(read);
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO> Noted<IO> {
    fn note(&self, written: &Poll<io::Result<usize>>) {
        if matches!(written, Poll::Ready(Ok(_))) && self.activity.is_in(IDLE) {
            self.activity.enter(IDLE);
        }
    }
}
