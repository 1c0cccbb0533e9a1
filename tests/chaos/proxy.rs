//! A TCP proxy that can cut all its connections and slow them down.

use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// What is read and passed on at once.
const CHUNK: usize = 16 * 1024;

/// Sees what clients send, before any delay.
type Reader = Arc<dyn Fn(&[u8]) + Send + Sync>;

/// Stands between the workers and somebody else.
pub struct Proxy {
    target: SocketAddr,
    /// Counts the cuts.
    cuts: watch::Sender<u64>,
    delay: watch::Sender<Duration>,
    /// How many connections were cut.
    pub cut: Arc<AtomicU64>,
}

/// Where clients connect. Closed when dropped; connections that were made by it stay.
pub struct Entrance {
    pub address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Drop for Entrance {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Proxy {
    pub fn new(target: SocketAddr) -> Self {
        Self {
            target,
            cuts: watch::Sender::new(0),
            delay: watch::Sender::new(Duration::ZERO),
            cut: Arc::default(),
        }
    }

    /// Opens an entrance of its own, so that what its clients send can be distinguished from what others send.
    pub fn open(&self, reader: impl Fn(&[u8]) + Send + Sync + 'static) -> Entrance {
        let listener = StdTcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("it need not block");
        let listener = TcpListener::from_std(listener).expect("a listener");
        let address = listener.local_addr().expect("an address");
        let (target, reader): (_, Reader) = (self.target, Arc::new(reader));
        let (cuts, delay, cut) = (self.cuts.subscribe(), self.delay.subscribe(), self.cut.clone());
        let accepting = tokio::spawn(async move {
            // The next one may be taken even where this one could not be.
            loop {
                let Ok((client, _)) = listener.accept().await else {
                    continue;
                };
                let (mut cuts, delay, cut) = (cuts.clone(), delay.clone(), cut.clone());
                let reader = Arc::clone(&reader);
                cuts.mark_unchanged();
                tokio::spawn(async move {
                    tokio::select! {
                        () = pass(client, target, &delay, &*reader) => {}
                        _ = cuts.changed() => drop(cut.fetch_add(1, Ordering::Relaxed)),
                    }
                });
            }
        });
        Entrance { address, accepting }
    }

    /// Cuts every connection that there is now.
    pub fn cut_all(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// From now on everything takes so much longer, in each direction.
    pub fn slow_down(&self, by: Duration) {
        self.delay.send_replace(by);
    }
}

/// Passes on what either side says, until one has nothing more to say.
async fn pass(
    client: TcpStream,
    target: SocketAddr,
    delay: &watch::Receiver<Duration>,
    reader: &(dyn Fn(&[u8]) + Send + Sync),
) {
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    // Best effort: without it everything is a little slower.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = copy(from_client, to_server, delay, reader) => {}
        () = copy(from_server, to_client, delay, &|_| {}) => {}
    }
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    delay: &watch::Receiver<Duration>,
    reader: &(dyn Fn(&[u8]) + Send + Sync),
) {
    let mut chunk = vec![0; CHUNK];
    loop {
        let Ok(length @ 1..) = from.read(&mut chunk).await else {
            return;
        };
        reader(&chunk[..length]);
        let by = *delay.borrow();
        if !by.is_zero() {
            sleep(by).await;
        }
        if to.write_all(&chunk[..length]).await.is_err() {
            return;
        }
    }
}
