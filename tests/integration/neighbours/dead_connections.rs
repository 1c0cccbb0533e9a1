//! A way to finAPI that forgets its connections, as a gateway with address translation does: what comes over them is dropped, nothing is
//! acknowledged, and no end of the connection is sent.

use std::sync::{Arc, Mutex};

use socket2::{SockFilter, SockRef};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

/// The way, and the connections over it.
pub struct Proxy {
    pub url: String,
    connections: Arc<Mutex<Vec<std::net::TcpStream>>>,
}

impl Proxy {
    /// A way to an address.
    pub async fn start(to: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let connections: Arc<Mutex<Vec<std::net::TcpStream>>> = Arc::default();
        let accepted = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((from, _)) = listener.accept().await {
                let same = SockRef::from(&from).try_clone().expect("a second handle");
                accepted.lock().expect("the connections").push(same.into());
                tokio::spawn(relay(from, to.clone()));
            }
        });
        Self { url, connections }
    }

    /// Drops from now on what comes over the connections that are there, and says how many these are.
    pub fn forget(&self) -> usize {
        /// `BPF_RET | BPF_K` with 0: no byte of the packet is taken.
        const DROP: SockFilter = SockFilter::new(6, 0, 0, 0);
        let connections = std::mem::take(&mut *self.connections.lock().expect("the connections"));
        let is_forgotten = |connection: &std::net::TcpStream| SockRef::from(connection).attach_filter(&[DROP]).is_ok();
        let count = connections.iter().filter(|connection| is_forgotten(connection)).count();
        // Closing them would say a word.
        std::mem::forget(connections);
        count
    }
}

async fn relay(mut from: TcpStream, to: String) {
    if let Ok(mut to) = TcpStream::connect(to).await {
        let _ = copy_bidirectional(&mut from, &mut to).await;
    }
}
