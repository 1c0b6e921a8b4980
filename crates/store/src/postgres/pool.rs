//! Connections for questions and settings, beside the writer lanes. Each is lent to one thread at a time; how many there are is a bound.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;

use super::session::{Access, Session};
use crate::types::StoreError;

pub(crate) struct Pool {
    access: Access,
    idle: Mutex<Vec<Session>>,
    places: Arc<Semaphore>,
}

impl Pool {
    pub(crate) fn new(access: Access, connections: usize, first: Session) -> Self {
        Self {
            access,
            idle: Mutex::new(vec![first]),
            places: Arc::new(Semaphore::new(connections.max(1))),
        }
    }

    /// Does something with a connection, on a thread that may wait.
    pub(crate) async fn with<T: Send + 'static>(
        self: Arc<Self>,
        act: impl FnOnce(&Session) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        // In a task of its own, which is always polled. A worker holds questions that it doesn't poll while it asks another one: a place
        // that was given to one of them would be nobody's, and the other one would wait for it in vain.
        let asked = tokio::spawn(async move {
            let place = Arc::clone(&self.places).acquire_owned();
            let place = match tokio::time::timeout(self.access.timeout, place).await {
                Ok(Ok(place)) => place,
                Ok(Err(_)) => return Err(StoreError::Closing),
                Err(_) => return Err(StoreError::Busy),
            };
            let acted = tokio::task::spawn_blocking(move || {
                let acted = self.with_here(act);
                drop(place);
                acted
            });
            // It panicked, or the runtime ends.
            acted.await.map_err(|_| StoreError::Lost)?
        });
        asked.await.map_err(|_| StoreError::Lost)?
    }

    fn with_here<T>(&self, act: impl FnOnce(&Session) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let session = loop {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            match idle {
                Some(session) if session.is_still_open() => break session,
                Some(_) => {}
                None => break Session::connect(&self.access)?,
            }
        };
        let acted = act(&session);
        if session.is_usable() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(session);
        }
        acted
    }

    /// How long somebody waits for a place.
    pub(crate) const fn timeout(&self) -> std::time::Duration {
        self.access.timeout
    }

    /// No more is lent.
    pub(crate) fn close(&self) {
        self.places.close();
    }
}
