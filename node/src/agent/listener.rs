//! Connections of load balancers: bounded in number and in time. Whoever reaches the port may open
//! as many as he likes; he must not take the descriptors that the agent needs for its own server.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep};

/// More than any balancer keeps. Of more, the oldest is closed.
const MOST: usize = 256;
/// From one answer to the next; a balancer that asks more seldom connects anew.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// Before the next try, where this process has no descriptor left.
const AGAIN: Duration = Duration::from_millis(100);

pub(super) struct Bounded {
    listener: TcpListener,
    /// Oldest first.
    open: VecDeque<oneshot::Sender<()>>,
}

impl Bounded {
    pub fn new(listener: TcpListener) -> Self {
        Self {
            listener,
            open: VecDeque::new(),
        }
    }
}

impl axum::serve::Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            let Ok((stream, from)) = self.listener.accept().await else {
                sleep(AGAIN).await;
                continue;
            };
            self.open.retain(|open| !open.is_closed());
            while self.open.len() >= MOST {
                let oldest = self.open.pop_front();
                let _ = oldest.map(|oldest| oldest.send(()));
            }
            let (close, closed) = oneshot::channel();
            self.open.push_back(close);
            let connection = Connection {
                stream,
                closed,
                until: Box::pin(sleep(ANSWER_LIMIT)),
            };
            return (connection, from);
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

pub(super) struct Connection {
    stream: TcpStream,
    closed: oneshot::Receiver<()>,
    until: Pin<Box<Sleep>>,
}

impl Connection {
    fn over(&mut self, context: &mut Context<'_>) -> bool {
        Pin::new(&mut self.closed).poll(context).is_ready()
            || self.until.as_mut().poll(context).is_ready()
    }
}

fn timed_out<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.over(context) {
            return timed_out();
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.over(context) {
            return timed_out();
        }
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if matches!(written, Poll::Ready(Ok(_))) {
            self.until.as_mut().reset(Instant::now() + ANSWER_LIMIT);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Raises this process's own limit of descriptors as far as it may.
pub(super) fn raise_descriptors() {
    use nix::libc::{RLIMIT_NOFILE, getrlimit, rlimit, setrlimit};
    let mut limit = rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: both calls read or write just this struct, which outlives them.
    let raised = unsafe {
        getrlimit(RLIMIT_NOFILE, &raw mut limit) == 0 && {
            limit.rlim_cur = limit.rlim_max;
            setrlimit(RLIMIT_NOFILE, &raw const limit) == 0
        }
    };
    if !raised {
        tracing::info!("the limit of open files stays as it is");
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn connections_that_say_nothing_keep_nobody_out() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(async || "here"));
        tokio::spawn(async move { axum::serve(Bounded::new(listener), router).await });
        let ask = async || {
            let mut stream = TcpStream::connect(at).await.unwrap();
            let request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
            stream.write_all(request).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        };
        let mut silent = Vec::new();
        for _ in 0..MOST + 50 {
            silent.push(TcpStream::connect(at).await.unwrap());
            if silent.len() % 100 == 0 {
                assert!(ask().await.ends_with("here"));
            }
        }
        assert!(ask().await.ends_with("here"));
        // The oldest were closed for it.
        let mut one = [0];
        assert_eq!(silent[0].read(&mut one).await.unwrap_or(0), 0);
        raise_descriptors();
    }
}
