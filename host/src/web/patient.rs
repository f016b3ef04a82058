//! A connection that waits only so long for its client to read: without this, a client that reads nothing would hold its
//! place for as long as a connection may last.

use std::{
    io::{Error, ErrorKind, IoSlice, Result},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// A stream with limits for writing.
pub(super) struct Patient<S> {
    stream: S,
    limits: Limits,
    /// Runs while the client reads nothing.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Runs until all that was written is sent.
    slow: Option<Pin<Box<Sleep>>>,
}

/// How long a client may take to read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Without reading anything.
    pub(super) stalled: Duration,
    /// For a whole answer, however slowly it reads.
    pub(super) slow: Duration,
}

impl<S> Patient<S> {
    pub(super) fn new(stream: S, limits: Limits) -> Self {
        Self { stream, limits, stalled: None, slow: None }
    }

    /// The same, once a write has ended or its time is over.
    fn within<T>(&mut self, context: &mut Context<'_>, written: Poll<Result<T>>) -> Poll<Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let Limits { stalled, slow } = self.limits;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(stalled)));
        let slow = self.slow.get_or_insert_with(|| Box::pin(sleep(slow)));
        if stalled.as_mut().poll(context).is_ready() || slow.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(Error::new(ErrorKind::TimedOut, "the client does not read")));
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.within(context, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.within(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Called when all that was written is handed over.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(context);
        ready!(this.within(context, flushed))?;
        this.slow = None;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let this = self.get_mut();
        let shut = Pin::new(&mut this.stream).poll_shutdown(context);
        this.within(context, shut)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const LIMITS: Limits = Limits { stalled: Duration::from_millis(200), slow: Duration::from_millis(600) };

    #[tokio::test]
    async fn who_reads_nothing_is_given_up_and_who_reads_is_not() {
        let (host, mut client) = duplex(16);
        let mut host = Patient::new(host, LIMITS);
        let reading = tokio::spawn(async move { client.read_to_end(&mut Vec::new()).await });
        host.write_all(&[0; 1000]).await.expect("read at once");
        host.shutdown().await.expect("shut down");
        drop(host);
        assert_eq!(reading.await.expect("no panic").expect("read"), 1000);

        let (host, client) = duplex(16);
        let mut host = Patient::new(host, LIMITS);
        let error = host.write_all(&[0; 1000]).await.expect_err("not read");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        drop(client);
    }

    /// A byte before each time limit.
    #[tokio::test]
    async fn who_reads_too_slowly_is_given_up() {
        let (host, mut client) = duplex(16);
        let mut host = Patient::new(host, LIMITS);
        let reading = tokio::spawn(async move {
            let mut read = 0;
            while client.read_exact(&mut [0; 1]).await.is_ok() {
                read += 1;
                sleep(Duration::from_millis(50)).await;
            }
            read
        });
        let error = host.write_all(&[0; 1000]).await.expect_err("read too slowly");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        drop(host);
        assert!(reading.await.expect("no panic") > 3);
    }
}
