//! Where a certificate authority looks, held shut until the test says who is behind it.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub(crate) struct Door {
    pub(crate) port: u16,
    leads: watch::Sender<Option<SocketAddr>>,
    knocks: watch::Sender<usize>,
    task: JoinHandle<()>,
}

impl Door {
    pub(crate) async fn shut() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (leads, knocks) = (watch::Sender::new(None), watch::Sender::new(0));
        let task = tokio::spawn(keep(listener, leads.clone(), knocks.clone()));
        Self { port, leads, knocks, task }
    }

    /// Whoever waits, and whoever comes, gets there.
    pub(crate) fn lead_to(&self, address: SocketAddr) {
        self.leads.send_replace(Some(address));
    }

    /// Waits until somebody waits.
    pub(crate) async fn knocked(&self) {
        let mut knocks = self.knocks.subscribe();
        let knocked = knocks.wait_for(|count| *count > 0);
        tokio::time::timeout(Duration::from_secs(20), knocked).await.expect("nobody comes").unwrap();
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn keep(listener: TcpListener, leads: watch::Sender<Option<SocketAddr>>, knocks: watch::Sender<usize>) {
    while let Ok((mut outside, _)) = listener.accept().await {
        let mut leads = leads.subscribe();
        knocks.send_modify(|count| *count += 1);
        tokio::spawn(async move {
            let to = leads.wait_for(Option::is_some).await.ok().and_then(|to| *to);
            if let Some(to) = to
                && let Ok(mut inside) = TcpStream::connect(to).await
            {
                drop(copy_bidirectional(&mut outside, &mut inside).await);
            }
        });
    }
}
