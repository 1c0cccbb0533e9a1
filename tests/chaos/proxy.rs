//! A TCP proxy that can cut all its connections and slow them down.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;

/// What is read and passed on at once.
const CHUNK: usize = 16 * 1024;

/// Stands between the workers and somebody else.
pub struct Proxy {
    pub address: SocketAddr,
    /// Counts the cuts.
    cuts: watch::Sender<u64>,
    delay: watch::Sender<Duration>,
    /// How many connections were cut.
    pub cut: Arc<AtomicU64>,
}

impl Proxy {
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let proxy = Self {
            address: listener.local_addr().expect("an address"),
            cuts: watch::Sender::new(0),
            delay: watch::Sender::new(Duration::ZERO),
            cut: Arc::default(),
        };
        let (cuts, delay, cut) = (proxy.cuts.subscribe(), proxy.delay.subscribe(), proxy.cut.clone());
        tokio::spawn(async move {
            // The next one may be taken even where this one could not be.
            loop {
                let Ok((client, _)) = listener.accept().await else {
                    continue;
                };
                let (mut cuts, delay, cut) = (cuts.clone(), delay.clone(), cut.clone());
                cuts.mark_unchanged();
                tokio::spawn(async move {
                    tokio::select! {
                        () = pass(client, target, &delay) => {}
                        _ = cuts.changed() => drop(cut.fetch_add(1, Ordering::Relaxed)),
                    }
                });
            }
        });
        proxy
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
async fn pass(client: TcpStream, target: SocketAddr, delay: &watch::Receiver<Duration>) {
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    // Best effort: without it everything is a little slower.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = copy(from_client, to_server, delay) => {}
        () = copy(from_server, to_client, delay) => {}
    }
}

async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, delay: &watch::Receiver<Duration>) {
    let mut chunk = vec![0; CHUNK];
    loop {
        let Ok(length @ 1..) = from.read(&mut chunk).await else {
            return;
        };
        let by = *delay.borrow();
        if !by.is_zero() {
            sleep(by).await;
        }
        if to.write_all(&chunk[..length]).await.is_err() {
            return;
        }
    }
}
