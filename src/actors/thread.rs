//! The thread that actors live on.

use std::thread;

use tokio::sync::{mpsc, oneshot};

/// A thread with an `actix` system. Ends when it is dropped.
#[derive(Debug)]
pub struct ActorThread {
    system: actix::System,
    ended: mpsc::Receiver<&'static str>,
}

/// Held by an actor: tells when that one ends, however it ends.
#[derive(Debug)]
pub(super) struct Alarm {
    name: &'static str,
    ended: mpsc::Sender<&'static str>,
}

impl Alarm {
    fn new(name: &'static str, ended: &mpsc::Sender<&'static str>) -> Alarm {
        Alarm { name, ended: ended.clone() }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        // Full means that another one has told already.
        let _ = self.ended.try_send(self.name);
    }
}

/// Makes alarms for the actors that are started on the thread.
#[derive(Debug)]
pub struct Alarms(mpsc::Sender<&'static str>);

impl Alarms {
    pub(super) fn of(&self, name: &'static str) -> Alarm {
        Alarm::new(name, &self.0)
    }
}

impl ActorThread {
    /// Starts the thread, and on it the actors of `build`, whose handles come back.
    ///
    /// # Errors
    /// When the machine gives no thread, or the actors could not start.
    pub async fn start<T: Send + 'static>(
        build: impl FnOnce(&Alarms) -> T + Send + 'static,
    ) -> std::io::Result<(ActorThread, T)> {
        let (ended, told) = mpsc::channel(1);
        let (built, handles) = oneshot::channel();
        thread::Builder::new().name("actors".to_owned()).spawn(move || {
            let alarm = Alarm::new("actor thread", &ended);
            let system = actix::System::new();
            let result = system.block_on(async { build(&Alarms(ended)) });
            if built.send((actix::System::current(), result)).is_ok()
                && let Err(error) = system.run()
            {
                tracing::error!(%error, "the actor thread failed");
            }
            drop(alarm);
        })?;
        let stopped = |_| std::io::Error::other("the actors could not start");
        let (system, handles) = handles.await.map_err(stopped)?;
        Ok((ActorThread { system, ended: told }, handles))
    }

    /// Waits for an actor to end and gives its name: none should while the process lives.
    pub async fn ended(&mut self) -> &'static str {
        self.ended.recv().await.unwrap_or("actor thread")
    }
}

impl Drop for ActorThread {
    fn drop(&mut self) {
        self.system.stop();
    }
}

#[cfg(test)]
mod tests {
    use actix::Actor as _;

    use super::*;

    struct Fickle(Option<Alarm>);

    impl actix::Actor for Fickle {
        type Context = actix::Context<Fickle>;

        fn started(&mut self, context: &mut Self::Context) {
            use actix::ActorContext as _;
            self.0 = self.0.take();
            context.stop();
        }
    }

    #[tokio::test]
    async fn an_actor_that_ends_unasked_is_told_of_by_its_name() {
        let start = |alarms: &Alarms| drop(Fickle(Some(alarms.of("fickle"))).start());
        let (mut thread, ()) = ActorThread::start(start).await.unwrap();
        assert_eq!(thread.ended().await, "fickle");
    }
}
