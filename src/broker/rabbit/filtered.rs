//! The filter between the socket, with its TLS, and lapin, which asks its runtime for the type of its connections.

use std::future::Future;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use async_rs::traits::Reactor;
use async_rs::util::RuntimeParts;
use async_rs::{Runtime, Tokio};
use futures_io::{AsyncRead, AsyncWrite};
use futures_util::Stream;
use lapin::tcp::AsyncTcpStream;

use super::frames::Filter;

/// How many bytes are read at once.
const READ: usize = 64 * 1024;

/// How many bytes the buffer of what lapin has not taken keeps room for.
const ROOM: usize = 2 * READ;

/// A connection of tokio's, with or without TLS.
pub(super) type Socket = AsyncTcpStream<<Tokio as Reactor>::TcpStream>;

/// A connection whose bytes have gone through the filter.
pub(super) struct Filtered {
    socket: Socket,
    filter: Filter,
    input: Box<[u8]>,
    /// What lapin is to see, and how much of it lapin has.
    output: Vec<u8>,
    taken: usize,
    /// Where the first bytes go as well.
    greeting: Option<Greeting>,
}

/// What a broker says first.
pub(super) type Greeting = Arc<OnceLock<Vec<u8>>>;

impl Filtered {
    pub(super) fn new(socket: Socket, filter: Filter) -> Self {
        Self {
            socket,
            filter,
            input: vec![0; READ].into_boxed_slice(),
            output: Vec::new(),
            taken: 0,
            greeting: None,
        }
    }

    /// The same, and the first bytes are kept.
    pub(super) fn with_greeting(self, greeting: Option<Greeting>) -> Self {
        Self { greeting, ..self }
    }
}

impl AsyncRead for Filtered {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        while this.taken == this.output.len() {
            this.output.clear();
            this.output.shrink_to(ROOM);
            this.taken = 0;
            let count = ready!(Pin::new(&mut this.socket).poll_read(cx, &mut this.input))?;
            if count == 0 {
                return Poll::Ready(Ok(0));
            }
            if let Some(greeting) = this.greeting.take() {
                // Nobody else sets it.
                let _ = greeting.set(this.input[..count].to_vec());
            }
            this.filter.push(&this.input[..count], &mut this.output);
        }
        let left = &this.output[this.taken..];
        let count = left.len().min(buffer.len());
        buffer[..count].copy_from_slice(&left[..count]);
        this.taken += count;
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for Filtered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, parts)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(cx)
    }
}

/// tokio's reactor, but for the type of its connections.
#[derive(Clone, Debug)]
pub(super) struct FilteredReactor(Tokio);

/// The runtime for connections that go through the filter.
pub(super) type FilteredRuntime = Runtime<RuntimeParts<Tokio, FilteredReactor>>;

/// The runtime of the caller.
///
/// # Panics
///
/// Outside of a tokio runtime.
pub(super) fn runtime() -> FilteredRuntime {
    let tokio = Tokio::current();
    Runtime::new(RuntimeParts::new(tokio.clone(), FilteredReactor(tokio)))
}

impl Reactor for FilteredReactor {
    type TcpStream = Filtered;
    type Sleep = <Tokio as Reactor>::Sleep;

    fn register<H: Read + Write + AsFd + AsRawFd + Send + 'static>(
        &self,
        socket: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        self.0.register(socket)
    }

    fn sleep(&self, duration: Duration) -> Self::Sleep {
        self.0.sleep(duration)
    }

    fn interval(&self, duration: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(duration)
    }

    fn tcp_connect_addr(&self, address: SocketAddr) -> impl Future<Output = io::Result<Filtered>> + Send + 'static {
        let connecting = self.0.tcp_connect_addr(address);
        async move {
            let socket = AsyncTcpStream::Plain(connecting.await?);
            Ok(Filtered::new(socket, Filter::new(None, usize::MAX)))
        }
    }
}
