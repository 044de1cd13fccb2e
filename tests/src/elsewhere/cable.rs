//! A way that connections take, in this process.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

/// A way for connections that lets nothing through while it is cut, and says so to neither end.
#[derive(Debug)]
pub(super) struct Cable {
    to: SocketAddr,
    cut: Mutex<bool>,
    mended: Condvar,
}

impl Cable {
    /// One to `to`, and the port that leads through it.
    pub(super) fn lay(to: SocketAddr) -> (Arc<Self>, SocketAddr) {
        let cable = Arc::new(Self { to, cut: Mutex::new(false), mended: Condvar::new() });
        let laid = Arc::clone(&cable);
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let cable = Arc::clone(&cable);
                thread::spawn(move || cable.connect(near));
            }
        });
        (laid, address)
    }

    pub(super) fn cut(&self) {
        *self.state() = true;
    }

    pub(super) fn mend(&self) {
        *self.state() = false;
        self.mended.notify_all();
    }

    fn connect(self: Arc<Self>, near: TcpStream) {
        self.wait_until_mended();
        let Ok(far) = TcpStream::connect(self.to) else { return };
        let (Ok(from), Ok(into)) = (near.try_clone(), far.try_clone()) else { return };
        let cable = Arc::clone(&self);
        thread::spawn(move || cable.copy(from, into));
        self.copy(far, near);
    }

    /// An end that is closed while it is cut is heard of later, as in a network.
    fn copy(&self, mut from: TcpStream, mut into: TcpStream) {
        let mut buffer = [0; 16 * 1024];
        loop {
            let read = from.read(&mut buffer).unwrap_or(0);
            self.wait_until_mended();
            if read == 0 || into.write_all(&buffer[..read]).is_err() {
                drop(into.shutdown(Shutdown::Both));
                drop(from.shutdown(Shutdown::Both));
                return;
            }
        }
    }

    fn wait_until_mended(&self) {
        drop(
            self.mended
                .wait_while(self.state(), |cut| *cut)
                .unwrap_or_else(PoisonError::into_inner),
        );
    }

    fn state(&self) -> MutexGuard<'_, bool> {
        self.cut.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
